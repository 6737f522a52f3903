//! Topics: who publishes, who subscribes, and who comes late.

use withy::node::{BusPublisher, BusSubscriber, Publication};

use super::{MESSAGES, Played, Player, shown, text};

/// Values that are retained before somebody joins late.
const VALUES: usize = 5;

impl Player {
    pub(super) async fn publish(&mut self) -> Played {
        let publisher = self.node.publisher(self.named("temp")).map_err(text)?;
        publisher.wait_subscribed(2).await.map_err(text)?;
        for number in 1..=MESSAGES {
            let published = publisher.publish(number.to_string());
            published.await.map_err(text)?;
        }
        self.props.publisher = Some(publisher);
        Ok(format!("published {MESSAGES}"))
    }

    pub(super) async fn subscribe(&self, level: &str) -> Played {
        let subscriber = self.node.subscriber(self.named(level)).map_err(text)?;
        for number in 1..=MESSAGES {
            expect(&subscriber, number).await?;
        }
        Ok(format!("got all by {}, in order", subscriber.filter()))
    }

    pub(super) async fn retain(&mut self) -> Played {
        let publisher = self.node.publisher(self.named("state")).map_err(text)?;
        for value in 1..=VALUES {
            self.publish_retained(&publisher, value).await?;
        }
        self.props.publisher = Some(publisher);
        Ok(format!("published {VALUES} values"))
    }

    async fn publish_retained(&self, publisher: &BusPublisher, value: usize) -> Result<(), String> {
        let topic = self.named("state").parse().map_err(text)?;
        let mut publication = Publication::new(topic, value.to_string());
        publication.header.retain = true;
        publisher.send(publication).await.map_err(text)
    }

    pub(super) async fn join_late(&mut self) -> Played {
        let subscriber = self.node.late_subscriber(self.named("#")).map_err(text)?;
        expect(&subscriber, VALUES).await?;
        self.props.late = Some(subscriber);
        Ok("came late and got the last".to_owned())
    }

    pub(super) async fn update(&self) -> Played {
        let publisher = self.props.publisher.as_ref().ok_or("it has no publisher")?;
        publisher.wait_subscribed(1).await.map_err(text)?;
        self.publish_retained(publisher, VALUES + 1).await?;
        Ok("published one more".to_owned())
    }

    pub(super) async fn follow(&self) -> Played {
        let subscriber = self.props.late.as_ref().ok_or("it did not join")?;
        expect(subscriber, VALUES + 1).await?;
        match subscriber.try_recv() {
            Ok(twice) => Err(format!("{} came, too", shown(&twice.into()))),
            Err(_) => Ok("got that once".to_owned()),
        }
    }
}

/// Receives what is to be this number.
async fn expect(subscriber: &BusSubscriber, number: usize) -> Result<(), String> {
    let got = subscriber.recv().await.map_err(text)?;
    match got.body.as_str() == Some(&number.to_string()) {
        true => Ok(()),
        false => Err(format!("expected {number}, got {}", shown(&got.into()))),
    }
}
