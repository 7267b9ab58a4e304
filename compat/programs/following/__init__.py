"""Programs that write all the time, and find another node when their own is killed.

Each takes `--sentinels` (host:port, several, with commas between) and `--master`, or `--endpoints`; and `--name`, the
key that it writes and the name of its connection, and `--log`, a file. It sets the key to 1, 2, 3, .. with a pause of
10 ms until SIGTERM, and appends a line of JSON for each of these commands, by whatever its library makes of it:

    {"number": 1, "sent": 15395.58, "answered": 15395.59, "error": null}

Times are seconds of CLOCK_BOOTTIME. To connect again is not noted: what counts is what the library lets the program see
of a command.
"""
