//! Elections: one of several candidates leads, says what others should know of him, and may hand over.

use std::{ops::Deref, sync::Arc, time::Duration};

use redis::{Cmd, Value};

use crate::{
    backend::{
        Candidacy, Holding, Names, Purpose, Quorate, Wish,
        quorate::{lost_if_gone, token},
        random,
    },
    client::{Client, Core, TTL, check_ttl, label},
    error::{Error, Loss},
    exchange::Again,
    guard::LockGuard,
    kind::{Exclusive, InSession, Kind, OwnTime},
    lock::{obtain, obtain_within},
    lock_info::{Holder, count, field, text},
    token::FencingToken,
};

/// For how long a candidate waits who does not say: for good, as programs count.
const FOR_GOOD: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A candidacy that is to be made; from [`Client::election`].
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// # async fn lead(token: quorate_client::FencingToken) {}
/// let leadership = client.election("scheduler").value("10.0.0.7:8080").campaign().await?;
/// tokio::select! {
///     () = lead(leadership.token()) => leadership.resign().await?,
///     loss = leadership.lost() => eprintln!("leads no longer: {loss}"),
/// }
/// # Ok(()) }
/// ```
#[must_use = "nobody is elected who does not campaign"]
pub struct Election<K: Kind = Exclusive> {
    core: Arc<Core<Quorate>>,
    name: String,
    wait: Duration,
    terms: K::Terms,
    candidacy: Candidacy,
}

impl Client<Quorate> {
    /// An election, to stand for.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let leadership = client.election("scheduler").campaign().await?;
    /// # Ok(()) }
    /// ```
    pub fn election(&self, name: impl Into<String>) -> Election {
        Election::new(Arc::clone(self.core()), name.into(), OwnTime { owner: None, ttl: TTL })
    }

    /// Who leads, as a majority of the servers knows; `None` if nobody does.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// if let Some(leader) = client.leader("scheduler").await? {
    ///     println!("{} leads since token {}", leader.holder, leader.token);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Refused` if the name is that of other data; `NotApplied` or `OutcomeUnknown` if no server answers.
    pub async fn leader(&self, name: impl AsRef<str>) -> Result<Option<Leader>, Error> {
        match self.quorate().exchange.ask(&command("LEADER", name.as_ref()), Again::Always).await? {
            Value::Nil => Ok(None),
            answer => leader_of(&answer).map(Some).ok_or_else(|| Error::unexpected(&answer)),
        }
    }

    /// Who waits to lead, the next one first; of many, the first 128.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// println!("{} could take over", client.candidates("scheduler").await?.len());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`leader`](Client::leader).
    pub async fn candidates(&self, name: impl AsRef<str>) -> Result<Vec<Candidate>, Error> {
        let answer =
            self.quorate().exchange.ask(&command("CANDIDATES", name.as_ref()), Again::Always).await?;
        let Value::Array(candidates) = &answer else { return Err(Error::unexpected(&answer)) };
        let read = |candidate| candidate_of(candidate).ok_or_else(|| Error::unexpected(candidate));
        candidates.iter().map(read).collect()
    }
}

/// Who leads, as it was when the servers were asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// Who it is.
    pub holder: Holder,
    /// The token of his term.
    pub token: FencingToken,
    /// What he lets others know.
    pub value: Option<Vec<u8>>,
    /// How long he leads still if he does not renew it.
    pub remaining: Option<Duration>,
    /// How many wait to lead.
    pub candidates: u64,
}

/// Who waits to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Who it is.
    pub holder: Holder,
    /// The greater is elected first.
    pub priority: u32,
}

impl<K: Kind> Election<K> {
    pub(crate) fn new(core: Arc<Core<Quorate>>, name: String, terms: K::Terms) -> Self {
        Self { core, name, wait: FOR_GOOD, terms, candidacy: Candidacy::default() }
    }

    /// Of whom it would be asked for, and its name.
    pub(crate) fn into_name(self) -> (Arc<Core<Quorate>>, String) {
        (self.core, self.name)
    }

    /// For how long to wait while somebody else leads: for good by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let election = client.election("scheduler").wait(std::time::Duration::from_secs(60));
    /// # }
    /// ```
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// What the others are to know while this candidate leads, such as his address: nothing by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let election = client.election("scheduler").value("10.0.0.7:8080");
    /// # }
    /// ```
    pub fn value(self, value: impl Into<Vec<u8>>) -> Self {
        Self { candidacy: Candidacy { value: Some(value.into()), ..self.candidacy }, ..self }
    }

    /// Candidates of a greater priority, up to 1,000,000, are elected before others: 0 by default. It deposes nobody.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let election = client.election("scheduler").priority(10);
    /// # }
    /// ```
    pub fn priority(self, priority: u32) -> Self {
        Self { candidacy: Candidacy { priority, ..self.candidacy }, ..self }
    }
}

impl Election {
    /// For how long the server keeps a leader whom it does not hear from: 10 s by default, 100 ms at least. It is renewed when a
    /// third of that is over.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let election = client.election("scheduler").ttl(std::time::Duration::from_secs(3));
    /// # }
    /// ```
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { terms: OwnTime { ttl, ..self.terms }, ..self }
    }

    /// What the server tells others of the candidate: the id of this process by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let election = client.election("scheduler").owner("host 7");
    /// # }
    /// ```
    pub fn owner(self, owner: impl Into<String>) -> Self {
        Self { terms: OwnTime { owner: Some(owner.into()), ..self.terms }, ..self }
    }

    /// Campaigns until elected, and leads until what this returns has resigned or is dropped. May be given up at any time, as
    /// the acquisition of a lock.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let leadership = client.election("scheduler").campaign().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Lock::acquire`](crate::Lock::acquire).
    pub async fn campaign(self) -> Result<Leadership, Error> {
        let Self { core, name, wait, terms: OwnTime { owner, ttl }, candidacy } = self;
        check_ttl(ttl)?;
        let wish = Wish::new(Names::One(name), Holding::Alone, &label(owner), ttl, wait)?;
        Ok(Leadership(obtain(&core, wish.of(Purpose::Leadership(candidacy))).await?))
    }
}

impl Election<InSession> {
    /// Campaigns until elected, and leads until what this returns has resigned or is dropped, or the session ends. May be given
    /// up at any time, as the acquisition of a lock.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().name("host 7").open().await?;
    /// let scheduler = session.election("scheduler").campaign().await?;
    /// let janitor = session.election("janitor").campaign().await?;
    /// println!("leads neither any longer: {}", session.lost().await);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if the session ends meanwhile, otherwise as for a lock without one.
    pub async fn campaign(self) -> Result<Leadership<InSession>, Error> {
        let Self { core, name, wait, terms: session, candidacy } = self;
        let wish = session.wish(Names::One(name), wait)?.of(Purpose::Leadership(candidacy));
        Ok(Leadership(obtain_within(&core, &session, wish).await?))
    }
}

/// The time in which one leads. It is the guard of a lock, which it dereferences to, and all that is said of guards holds for it:
/// whoever has it may lead no longer, and is told so; what a leader changes should check his token.
#[must_use = "who drops it resigns"]
pub struct Leadership<K: Kind = Exclusive>(LockGuard<Quorate, K>);

impl<K: Kind> Deref for Leadership<K> {
    type Target = LockGuard<Quorate, K>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K: Kind> Leadership<K> {
    /// Resigns, and returns once the server has said so: the next candidate leads.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let leadership = client.election("scheduler").campaign().await?;
    /// leadership.resign().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`LockGuard::release`].
    pub async fn resign(self) -> Result<(), Error> {
        self.0.release().await
    }

    /// Lets the others know another value.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let leadership = client.election("scheduler").campaign().await?;
    /// leadership.proclaim("ready").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if somebody else leads by now; `OutcomeUnknown` if no server answered: it was, or will be, known or not.
    pub async fn proclaim(&self, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let mut command = self.command("PROCLAIM");
        // An earlier one that comes late must not take the place of a later one, so it is not sent twice.
        self.ask(command.arg(value.as_ref()), Again::IfNotApplied).await
    }

    /// Hands over to one of the [candidates](Client::candidates), before all others: when this returns, that one leads.
    ///
    /// If this is given up, or fails without an answer, it may have been done, or may yet be: then this one believes to lead
    /// until it is renewed or looked at next, a third of its time to live at most while servers answer. If somebody takes it away
    /// at the same time, that it was [lost](LockGuard::lost) may be told as `Released`; what this returns says which it was.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let leadership = client.election("scheduler").campaign().await?;
    /// if let Some(next) = client.candidates("scheduler").await?.last() {
    ///     leadership.transfer(next).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Refused` if that one does not wait any longer, and `Lost` if somebody else leads by now; then nothing has changed.
    /// Otherwise no server answered, and it may have been done.
    pub async fn transfer(&self, to: &Candidate) -> Result<(), Error> {
        let mut command = self.command("TRANSFER");
        match &to.holder {
            Holder::Owner(owner) => command.arg("OWNER").arg(owner),
            Holder::Session(number) => command.arg("SESSION").arg(number),
            Holder::Readers(_) => return Err(Error::invalid("candidate", "readers do not lead")),
        };
        let command = command.arg("REQUEST").arg(format!("{:032x}", random()?));
        self.0.hand_over(self.ask(command, Again::Always)).await
    }

    /// The same as the guard of a lock, for code that takes one: to release it is to resign.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.election("scheduler").campaign().await?.into_guard();
    /// guard.release().await?;
    /// # Ok(()) }
    /// ```
    pub fn into_guard(self) -> LockGuard<Quorate, K> {
        self.0
    }

    fn command(&self, what: &str) -> Cmd {
        let mut command = command(what, self.0.name());
        command.arg(self.0.token().get());
        command
    }

    async fn ask(&self, command: &Cmd, again: Again) -> Result<(), Error> {
        let answer = self.0.backend().exchange.ask(command, again).await.map_err(lost_if_gone);
        if let Err(Error::Lost(Loss::Taken)) = answer {
            self.0.refused();
        }
        answer.map(drop)
    }
}

fn command(what: &str, name: &str) -> Cmd {
    let mut command = redis::cmd("ELECTION");
    command.arg(what).arg(name);
    command
}

fn leader_of(answer: &Value) -> Option<Leader> {
    Some(Leader {
        holder: holder_of(answer)?,
        token: token(field(answer, "token")?).ok()?,
        value: match field(answer, "value")? {
            Value::BulkString(value) => Some(value.clone()),
            _ => None,
        },
        // -1 is for ever.
        remaining: count(field(answer, "ttl-ms")?).map(Duration::from_millis),
        candidates: count(field(answer, "candidates")?)?,
    })
}

fn candidate_of(answer: &Value) -> Option<Candidate> {
    let priority = u32::try_from(count(field(answer, "priority")?)?).ok()?;
    Some(Candidate { holder: holder_of(answer)?, priority })
}

fn holder_of(answer: &Value) -> Option<Holder> {
    match (field(answer, "owner")?, field(answer, "session")?) {
        (Value::Nil, session) => count(session).map(Holder::Session),
        (owner, _) => text(owner).map(Holder::Owner),
    }
}
