//! The task of a producer: what its engine says goes over the link, and what the keeper says to those
//! who wait.

use std::sync::Arc;
use std::time::Duration;

use withy_proto::queue::{Command, QueueName};

use super::{KEEPER_WAIT, State};
use crate::node::queue::client::{Change, Client, LINGER, News};
use crate::node::queue::keeper::Kept;
use crate::node::queue::{QueueOptions, TURN, deadline, now};
use crate::node::shared::Shared;

/// The task of a producer.
pub(super) struct Task {
    state: Arc<State>,
    client: Client,
    news: News,
    queue: QueueName,
    keep: Option<QueueOptions>,
    /// Since when nobody keeps the queue.
    absent_since: Option<Duration>,
    is_news: bool,
}

impl Task {
    pub(super) fn new(
        shared: &Shared,
        state: &Arc<State>,
        client: Client,
        queue: QueueName,
        keep: Option<QueueOptions>,
    ) -> Self {
        Self {
            news: News::new(shared, client.core()),
            state: Arc::clone(state),
            client,
            queue,
            keep,
            absent_since: Some(now()),
            is_news: true,
        }
    }

    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let mut ends: Option<Duration> = None;
        loop {
            let core = Arc::clone(self.client.core());
            let mut room = std::pin::pin!(core.room.notified());
            room.as_mut().enable();
            let due = self.settle(&shared);
            {
                let inner = self.state.inner.lock();
                if inner.is_dropped {
                    let end = *ends.get_or_insert_with(|| now() + LINGER);
                    if inner.engine.unconfirmed() == 0 || now() >= end {
                        break;
                    }
                }
            }
            let due = due.into_iter().chain(ends).min();
            tokio::select! {
                () = shared.stop.cancelled() => break,
                () = self.state.work.notified() => {}
                () = self.news.changed() => self.is_news = true,
                Some(command) = self.client.recv() => self.heard(command),
                () = room => {}
                () = deadline(due) => {}
            }
        }
        {
            let mut inner = self.state.inner.lock();
            inner.is_closed = true;
            // Who waits hears that nobody knows.
            inner.waiting.clear();
        }
        self.state.room.notify_waiters();
        self.client.finish().await;
    }

    fn heard(&mut self, command: Command) {
        let mut inner = self.state.inner.lock();
        let known = inner.engine.known();
        if let Err(error) = inner.engine.handle(command) {
            self.client.let_go(&error);
        }
        // Another link may be the keeper's now.
        self.is_news |= inner.engine.known() != known;
        self.state.tell(&mut inner);
    }

    /// Does everything that is to be done now, and says when there is more.
    fn settle(&mut self, shared: &Arc<Shared>) -> Option<Duration> {
        let mut all = false;
        for _ in 0..TURN {
            match self.client.try_recv() {
                Ok(Some(command)) => self.heard(command),
                Ok(None) => {}
                Err(_) => {
                    all = true;
                    break;
                }
            }
        }
        let time = now();
        let said = self.is_news.then(|| self.client.keeper(true));
        let state = Arc::clone(&self.state);
        let mut inner = state.inner.lock();
        if let Some(said) = said {
            let news = self.client.news(said);
            news.into_iter().for_each(|it| inner.engine.observe(it));
            if said.is_some_and(|said| said.is_stored) {
                self.keep = None;
            }
            match self.client.look(inner.engine.known(), said) {
                Some(Change::Connected(node)) => inner.engine.connected(node),
                Some(Change::Lost) => inner.engine.lost(),
                None => {}
            }
            self.absent_since = match said {
                Some(_) => None,
                None => self.absent_since.or(Some(time)),
            };
            self.is_news = false;
        }
        inner.engine.handle_timeout(time);
        state.tell(&mut inner);
        while self.client.has_room()
            && let Some(command) = inner.engine.poll_transmit(time)
        {
            self.client.send(command);
        }
        let mut due = inner.engine.next_timeout();
        if let Some(since) = self.absent_since
            && let Some(options) = &self.keep
            && !inner.is_dropped
        {
            let wait = since + KEEPER_WAIT;
            if wait > time {
                due = due.into_iter().chain([wait]).min();
            } else {
                self.absent_since = None;
                match Kept::born(shared, &self.queue, options.clone()) {
                    Ok(kept) => inner.kept = Some(kept),
                    // Another one of this node may just have become the keeper.
                    Err(error) => {
                        tracing::info!(queue = %self.queue, %error, "this node does not keep a queue");
                        self.absent_since = Some(time);
                        due = due.into_iter().chain([time + KEEPER_WAIT]).min();
                    }
                }
            }
        }
        if all { due } else { Some(time) }
    }
}
