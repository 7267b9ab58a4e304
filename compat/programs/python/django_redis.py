"""PyPI `django-redis`: `cache.lock`, as Django applications take it."""

from django.conf import settings
from django.core.cache import cache

from ..contend import contend
from .redis_py import RedisPyLock


class DjangoLock(RedisPyLock):
    def __init__(self, options):
        super().__init__(options)
        backend = "django_redis.cache.RedisCache"
        settings.configure(CACHES={"default": {"BACKEND": backend, "LOCATION": options.url}})

    def make(self):
        return cache.lock("compat:django", timeout=self.options.ttl)


if __name__ == "__main__":
    contend(DjangoLock)
