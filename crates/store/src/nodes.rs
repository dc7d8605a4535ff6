//! Node records, as a client sees them.
//!
//! Deliberately not here: who may change them (`convoke_types::wire::store::rights`).

use convoke_types::wire::store::{
    Command, Done, Found, Freshness, Mark, NodeCommand, NodeFound, NodeQuery, Query, Record,
};
use convoke_types::{NodeId, Role};

use crate::client::{Error, Store, the, unexpected};

impl Store {
    /// What is decided about a node, if it is enrolled.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn node(&self, node: NodeId) -> Result<Option<Record>, Error> {
        the!(self.about_nodes(NodeQuery::Get(node)).await?, NodeFound::Node(record) => record)
    }

    /// All that is decided about nodes, in the order of their ids. Page by page, so it may be of several moments.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn nodes(&self) -> Result<Vec<Record>, Error> {
        let mut nodes: Vec<Record> = Vec::new();
        loop {
            let query = NodeQuery::List {
                after: nodes.last().map(|record| record.node),
                limit: 0,
            };
            let found = self.about_nodes(query).await?;
            let NodeFound::Nodes(page) = found else {
                return Err(unexpected(&found));
            };
            if page.is_empty() {
                return Ok(nodes);
            }
            nodes.extend(page);
        }
    }

    /// What happened to the cluster as a whole, the oldest first.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn marks(&self) -> Result<Vec<Mark>, Error> {
        the!(self.about_nodes(NodeQuery::Marks).await?, NodeFound::Marks(marks) => marks)
    }

    /// Enrols this node, and says which role it has.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn enrol(&self, command: NodeCommand) -> Result<Role, Error> {
        the!(self.command(Command::Node(command)).await?, Done::Enrolled(role) => role)
    }

    async fn about_nodes(&self, query: NodeQuery) -> Result<NodeFound, Error> {
        let answer = self
            .query(Query::Node(query), Freshness::Linearizable)
            .await?;
        the!(answer.found, Found::Node(found) => found)
    }
}
