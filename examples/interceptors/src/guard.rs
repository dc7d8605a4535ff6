//! Authorisation beyond roles: a rule for every method, held against the claims of whoever calls.
//!
//! `#[rpc(roles(…))]` says which roles are enough, once and for all servers. A guard is for what a program decides itself: one node,
//! several roles together, what a list says. It sees claims, which the handshake has proved, and never messages.

use std::collections::BTreeMap;

use convoke::rpc::identity::Claims;
use convoke::rpc::{Code, Context, NodeId, Problem, RoleSet, ServerInterceptor, ServiceDescriptor};

/// Who may call a method.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Every node that got this far.
    Anyone,
    /// Nodes that may hold all of these roles.
    HoldsAll(RoleSet),
    /// One node.
    Only(NodeId),
}

impl Rule {
    fn lets_pass(self, claims: &Claims) -> bool {
        match self {
            Self::Anyone => true,
            Self::HoldsAll(roles) => claims.roles.contains_all(roles),
            Self::Only(node) => claims.node == node,
        }
    }
}

/// Lets calls pass whose method has a rule that does.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    rules: BTreeMap<&'static str, Rule>,
}

impl Guard {
    /// Lets nothing pass.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule for one method.
    #[must_use]
    pub fn allow(mut self, method: &'static str, rule: Rule) -> Self {
        self.rules.insert(method, rule);
        self
    }

    /// Lets everybody call every method of a service.
    #[must_use]
    pub fn allow_all_of(self, service: &'static ServiceDescriptor) -> Self {
        let methods = service.methods.iter();
        methods.fold(self, |guard, method| {
            guard.allow(method.name(), Rule::Anyone)
        })
    }
}

impl ServerInterceptor for Guard {
    fn before(&self, context: &Context) -> Result<(), Problem> {
        let method = context.method().name();
        let rule = self.rules.get(method);
        if rule.is_some_and(|rule| rule.lets_pass(context.claims())) {
            return Ok(());
        }
        // What would be allowed is nothing a stranger needs to know.
        let message = format!("{method} is not for {}", context.caller().short());
        Err(Problem::new(Code::Forbidden, message))
    }
}
