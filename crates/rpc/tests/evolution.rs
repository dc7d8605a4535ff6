//! Old programs and new ones on one link: fields that were appended, words that were added and methods that came later trouble
//! neither side.
//!
//! The rules of the codec are tested in `convoke-types`; this is about calls between programs of two versions.
mod world;

use convoke_rpc::{CallError, Changed, Code, NoError, Streaming};
use world::{Carrier, World};

/// As it was released first.
mod old {
    use convoke_rpc::{NoError, Streaming, service};
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Book {
        pub(crate) title: String,
        pub(crate) place: Place,
    }

    /// Inside of another type, where a field more is in the way of what follows.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Place {
        pub(crate) shelf: u32,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) enum State {
        Shelved,
        Lent {
            days: u32,
        },
        #[serde(other)]
        Unknown,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) enum Refusal {
        NoSuchBook,
        #[serde(other)]
        Unknown,
    }

    #[service(name = "Library")]
    pub(crate) trait Library {
        async fn store(&self, book: Book) -> Result<u32, Refusal>;
        async fn find(&self, title: String) -> Result<Book, Refusal>;
        async fn state(&self, title: String) -> Result<State, NoError>;
        async fn all(&self) -> Result<Streaming<Book>, NoError>;
        async fn store_all(&self, books: Streaming<Book>) -> Result<u32, NoError>;
    }
}

/// As it is now.
mod new {
    use convoke_rpc::{NoError, Streaming, service};
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Book {
        pub(crate) title: String,
        pub(crate) place: Place,
        #[serde(default)]
        pub(crate) authors: Vec<String>,
        #[serde(default)]
        pub(crate) year: Option<u16>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Place {
        pub(crate) shelf: u32,
        #[serde(default)]
        pub(crate) room: String,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) enum State {
        Shelved,
        Lent {
            days: u32,
            #[serde(default)]
            to: String,
        },
        Lost {
            since: u64,
        },
        #[serde(other)]
        Unknown,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub(crate) enum Refusal {
        NoSuchBook,
        NoRoom {
            free: u32,
        },
        #[serde(other)]
        Unknown,
    }

    #[service(name = "Library")]
    pub(crate) trait Library {
        async fn burn(&self, title: String) -> Result<(), Refusal>;
        async fn store(&self, book: Book) -> Result<u32, Refusal>;
        async fn find(&self, title: String) -> Result<Book, Refusal>;
        async fn state(&self, title: String) -> Result<State, NoError>;
        async fn all(&self) -> Result<Streaming<Book>, NoError>;
        async fn all_burnt(&self) -> Result<Streaming<Book>, NoError>;
        async fn store_all(&self, books: Streaming<Book>) -> Result<u32, NoError>;
    }
}

fn old_book(title: &str) -> old::Book {
    old::Book {
        title: title.to_owned(),
        place: old::Place { shelf: 300 },
    }
}

fn new_book(title: &str) -> new::Book {
    let place = new::Place {
        shelf: 300,
        room: "cellar".to_owned(),
    };
    new::Book {
        title: title.to_owned(),
        place,
        authors: vec!["a".to_owned(), "b".to_owned()],
        year: Some(1974),
    }
}

/// What a new program makes of an old book.
fn modest_book(title: &str) -> new::Book {
    let place = new::Place {
        shelf: 300,
        room: String::new(),
    };
    new::Book {
        title: title.to_owned(),
        place,
        authors: Vec::new(),
        year: None,
    }
}

struct OldLibrary;

impl old::Library for OldLibrary {
    async fn store(&self, book: old::Book) -> Result<u32, old::Refusal> {
        assert_eq!(book, old_book("dune"));
        Ok(1)
    }

    async fn find(&self, title: String) -> Result<old::Book, old::Refusal> {
        if title == "dune" {
            Ok(old_book("dune"))
        } else {
            Err(old::Refusal::NoSuchBook)
        }
    }

    async fn state(&self, _title: String) -> Result<old::State, NoError> {
        Ok(old::State::Lent { days: 3 })
    }

    async fn all(&self) -> Result<Streaming<old::Book>, NoError> {
        Ok(vec![old_book("dune"), old_book("emma")].into())
    }

    async fn store_all(&self, mut books: Streaming<old::Book>) -> Result<u32, NoError> {
        let mut count = 0;
        while let Some(book) = books.next().await {
            assert_eq!(book, Ok(old_book("dune")));
            count += 1;
        }
        Ok(count)
    }
}

struct NewLibrary;

impl new::Library for NewLibrary {
    async fn burn(&self, _title: String) -> Result<(), new::Refusal> {
        Err(new::Refusal::NoSuchBook)
    }

    async fn store(&self, book: new::Book) -> Result<u32, new::Refusal> {
        assert_eq!(book, modest_book("dune"));
        Err(new::Refusal::NoRoom { free: 0 })
    }

    async fn find(&self, title: String) -> Result<new::Book, new::Refusal> {
        if title == "dune" {
            Ok(new_book("dune"))
        } else {
            Err(new::Refusal::NoSuchBook)
        }
    }

    async fn state(&self, title: String) -> Result<new::State, NoError> {
        Ok(match title.as_str() {
            "lent" => new::State::Lent {
                days: 3,
                to: "somebody".to_owned(),
            },
            "lost" => new::State::Lost { since: 1 << 40 },
            _ => new::State::Shelved,
        })
    }

    async fn all(&self) -> Result<Streaming<new::Book>, NoError> {
        Ok(vec![new_book("dune"), new_book("emma")].into())
    }

    async fn all_burnt(&self) -> Result<Streaming<new::Book>, NoError> {
        Ok(Vec::new().into())
    }

    async fn store_all(&self, mut books: Streaming<new::Book>) -> Result<u32, NoError> {
        let mut count = 0;
        while let Some(book) = books.next().await {
            assert_eq!(book, Ok(modest_book("dune")));
            count += 1;
        }
        Ok(count)
    }
}

async fn an_old_client_calls_a_new_server(carrier: Carrier) {
    let world = World::serving(carrier, |server| {
        server.service(new::LibraryServer::new(NewLibrary))
    });
    let client = old::LibraryClient::new(world.channel());
    assert_eq!(
        client.store(&old_book("dune")).await,
        Err(CallError::App(old::Refusal::Unknown))
    );
    assert_eq!(client.find("dune").await, Ok(old_book("dune")));
    assert_eq!(
        client.find("emma").await,
        Err(CallError::App(old::Refusal::NoSuchBook))
    );
    assert_eq!(client.state("here").await, Ok(old::State::Shelved));
    assert_eq!(client.state("lent").await, Ok(old::State::Lent { days: 3 }));
    assert_eq!(client.state("lost").await, Ok(old::State::Unknown));
    let mut all = client.all().await.unwrap();
    for title in ["dune", "emma"] {
        assert_eq!(all.next().await, Some(Ok(old_book(title))));
    }
    assert_eq!(all.next().await, None);
    assert_eq!(
        client.store_all(vec![old_book("dune"); 3].into()).await,
        Ok(3)
    );
    world.end().await;
}

async fn a_new_client_calls_an_old_server(carrier: Carrier) {
    let world = World::serving(carrier, |server| {
        server.service(old::LibraryServer::new(OldLibrary))
    });
    let client = new::LibraryClient::new(world.channel());
    assert_eq!(client.store(&new_book("dune")).await, Ok(1));
    assert_eq!(client.find("dune").await, Ok(modest_book("dune")));
    assert_eq!(
        client.find("emma").await,
        Err(CallError::App(new::Refusal::NoSuchBook))
    );
    let lent = new::State::Lent {
        days: 3,
        to: String::new(),
    };
    assert_eq!(client.state("lent").await, Ok(lent));
    let mut all = client.all().await.unwrap();
    for title in ["dune", "emma"] {
        assert_eq!(all.next().await, Some(Ok(modest_book(title))));
    }
    assert_eq!(all.next().await, None);
    assert_eq!(
        client.store_all(vec![new_book("dune"); 3].into()).await,
        Ok(3)
    );

    let unheard_of = |problem: Option<&convoke_rpc::Problem>| {
        let problem = problem.expect("a problem");
        assert_eq!(
            (problem.code, problem.changed),
            (Code::Unimplemented, Changed::No),
            "{problem}"
        );
        assert!(
            problem.message().contains("Library.") && problem.message().contains("burn"),
            "{problem}"
        );
    };
    unheard_of(client.burn("dune").await.unwrap_err().problem());
    unheard_of(client.all_burnt().await.unwrap_err().problem());
    // What it does know goes on as before.
    assert_eq!(client.find("dune").await, Ok(modest_book("dune")));
    world.end().await;
}

world::on_every_carrier!(
    an_old_client_calls_a_new_server,
    a_new_client_calls_an_old_server
);
