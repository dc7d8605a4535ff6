//! Which function answers which operation of the API.

use bytes::Bytes;
use convoke_web::Backend;
use convoke_web::backend::{
    Caller, Condition, Consistency, KeyRead, Part, Principal, Reading, Reply, RpcAnswer, RpcCall,
};
use convoke_web::model::{
    Adaptation, ApiToken, ApiTokenCreated, AuditEntry, Changed, ConfigVersion, CreateApiToken,
    CreateToken, EventPage, Found, Health, Instance, Issuer, JoinToken, KeyEntry, KeyWritten,
    Level, Lock, LogPage, LoginCreated, NodeDetail, NodeSummary, Page, PlanRoles, Proposal,
    Propose, RoleExplanation, RolePlan, RotateIssuer, RpcService, RpcServiceSummary, SetAllow,
    SetDrain, SetRole, Setting, Status, SteerRole, TokenCreated, Vote, Voters, Watching,
};

use super::ask::Desk;

impl Backend for Desk {
    fn authenticate<'a>(&'a self, token: &'a str) -> Reply<'a, Option<Principal>> {
        Box::pin(self.whose_key(token))
    }
    fn redeem_login<'a>(&'a self, token: &'a str) -> Reply<'a, Option<Principal>> {
        Box::pin(std::future::ready(Ok(self.whose_login(token))))
    }

    fn create_login<'a>(&'a self, by: &'a Caller) -> Reply<'a, LoginCreated> {
        Box::pin(std::future::ready(self.make_login(by)))
    }

    fn health(&self) -> Reply<'_, Health> {
        Box::pin(std::future::ready(Ok(self.see_health())))
    }
    fn status(&self) -> Reply<'_, Status> {
        Box::pin(self.see_status())
    }
    fn metrics(&self) -> Reply<'_, String> {
        Box::pin(self.count())
    }
    fn events(&self, reading: Reading) -> Reply<'_, EventPage> {
        Box::pin(async move { Ok(self.parts.happenings.read(reading).await) })
    }
    fn voters(&self, explain: bool) -> Reply<'_, Voters> {
        Box::pin(self.see_voters(explain))
    }
    fn audit(&self, part: Part) -> Reply<'_, Page<AuditEntry>> {
        Box::pin(self.see_audit(part))
    }

    fn nodes(&self, part: Part) -> Reply<'_, Page<NodeSummary>> {
        Box::pin(self.list_nodes(part))
    }
    fn node<'a>(&'a self, node: &'a str) -> Reply<'a, NodeDetail> {
        Box::pin(self.see_node(node))
    }
    fn watching<'a>(&'a self, around: Option<&'a str>, most: u32) -> Reply<'a, Watching> {
        Box::pin(self.see_watching(around, most))
    }
    fn rpc_services(&self, part: Part) -> Reply<'_, Page<RpcServiceSummary>> {
        Box::pin(std::future::ready(self.list_rpc_services(&part)))
    }
    fn instances<'a>(
        &'a self,
        service: &'a str,
        selector: Option<&'a str>,
        part: Part,
    ) -> Reply<'a, Page<Instance>> {
        let listed = self.list_instances(service, selector, &part);
        Box::pin(std::future::ready(listed))
    }
    fn logs<'a>(&'a self, node: &'a str, level: Level, reading: Reading) -> Reply<'a, LogPage> {
        Box::pin(self.read_logs(node, level, reading))
    }
    fn set_role<'a>(&'a self, by: &'a Caller, node: &'a str, role: SetRole) -> Reply<'a, Changed> {
        Box::pin(self.grant(by, node, role))
    }
    fn steer_role<'a>(
        &'a self,
        by: &'a Caller,
        node: &'a str,
        to: SteerRole,
    ) -> Reply<'a, Changed> {
        Box::pin(self.steer(by, node, to))
    }
    fn explain_role<'a>(&'a self, node: &'a str) -> Reply<'a, RoleExplanation> {
        Box::pin(self.explain_role_of(node))
    }
    fn plan_roles(&self, what: PlanRoles) -> Reply<'_, RolePlan> {
        Box::pin(std::future::ready(self.plan(&what)))
    }
    fn knobs<'a>(&'a self, node: &'a str) -> Reply<'a, Adaptation> {
        Box::pin(self.knobs_of(node))
    }
    fn set_allow<'a>(&'a self, by: &'a Caller, node: &'a str, to: SetAllow) -> Reply<'a, Changed> {
        Box::pin(self.allow(by, node, to))
    }
    fn set_drain<'a>(&'a self, by: &'a Caller, node: &'a str, to: SetDrain) -> Reply<'a, Changed> {
        Box::pin(self.drain(by, node, to))
    }
    fn forget<'a>(&'a self, by: &'a Caller, node: &'a str) -> Reply<'a, Changed> {
        Box::pin(self.forget_node(by, node))
    }

    fn settings<'a>(
        &'a self,
        prefix: &'a str,
        part: Part,
        how: Consistency,
    ) -> Reply<'a, Page<Setting>> {
        Box::pin(self.list_settings(prefix, part, how))
    }
    fn setting<'a>(&'a self, key: &'a str, how: Consistency) -> Reply<'a, Found<Setting>> {
        Box::pin(self.see_setting(key, how))
    }
    fn setting_history<'a>(&'a self, key: &'a str, part: Part) -> Reply<'a, Page<ConfigVersion>> {
        Box::pin(self.see_history(key, part))
    }
    fn proposals(&self, part: Part) -> Reply<'_, Page<Proposal>> {
        Box::pin(self.list_proposals(part))
    }
    fn proposal(&self, id: u64, how: Consistency) -> Reply<'_, Found<Proposal>> {
        Box::pin(self.see_proposal(id, how))
    }
    fn propose<'a>(&'a self, by: &'a Caller, what: Propose) -> Reply<'a, Proposal> {
        Box::pin(self.make_proposal(by, what))
    }
    fn vote<'a>(&'a self, by: &'a Caller, id: u64, vote: Vote) -> Reply<'a, Proposal> {
        Box::pin(self.vote_on(by, id, vote))
    }
    fn withdraw<'a>(&'a self, by: &'a Caller, id: u64) -> Reply<'a, Proposal> {
        Box::pin(self.take_back(by, id))
    }

    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        part: Part,
        how: Consistency,
    ) -> Reply<'a, Page<KeyEntry>> {
        Box::pin(self.list_keys(prefix, part, how))
    }
    fn key<'a>(&'a self, key: &'a [u8], how: Consistency) -> Reply<'a, KeyRead> {
        Box::pin(self.read_key(key, how))
    }
    fn put_key<'a>(
        &'a self,
        by: &'a Caller,
        key: &'a [u8],
        value: Bytes,
        only_if: Condition,
    ) -> Reply<'a, KeyWritten> {
        Box::pin(self.write_key(by, key, Some(value), only_if))
    }
    fn delete_key<'a>(
        &'a self,
        by: &'a Caller,
        key: &'a [u8],
        only_if: Condition,
    ) -> Reply<'a, KeyWritten> {
        Box::pin(self.write_key(by, key, None, only_if))
    }

    fn locks(&self, part: Part, how: Consistency) -> Reply<'_, Page<Lock>> {
        Box::pin(self.list_locks(part, how))
    }
    fn lock<'a>(&'a self, name: &'a str, how: Consistency) -> Reply<'a, Found<Lock>> {
        Box::pin(self.see_lock(name, how))
    }

    fn rpc_service<'a>(&'a self, service: &'a str) -> Reply<'a, RpcService> {
        Box::pin(self.see_rpc_service(service))
    }
    fn call_rpc<'a>(&'a self, by: &'a Caller, call: RpcCall) -> Reply<'a, RpcAnswer> {
        Box::pin(self.call_rpc_service(by, call))
    }

    fn join_tokens(&self, part: Part) -> Reply<'_, Page<JoinToken>> {
        Box::pin(self.list_tokens(part))
    }
    fn create_join_token<'a>(
        &'a self,
        by: &'a Caller,
        what: CreateToken,
    ) -> Reply<'a, TokenCreated> {
        Box::pin(self.make_token(by, what))
    }
    fn revoke_join_token<'a>(&'a self, by: &'a Caller, id: &'a str) -> Reply<'a, Changed> {
        Box::pin(self.revoke_token(by, id))
    }
    fn api_tokens(&self, part: Part) -> Reply<'_, Page<ApiToken>> {
        Box::pin(self.list_keys_to_the_api(part))
    }
    fn create_api_token<'a>(
        &'a self,
        by: &'a Caller,
        what: CreateApiToken,
    ) -> Reply<'a, ApiTokenCreated> {
        Box::pin(self.make_key_to_the_api(by, what))
    }
    fn revoke_api_token<'a>(&'a self, by: &'a Caller, id: &'a str) -> Reply<'a, Changed> {
        Box::pin(self.revoke_key_to_the_api(by, id))
    }
    fn issuers(&self, part: Part) -> Reply<'_, Page<Issuer>> {
        Box::pin(self.list_issuers(part))
    }
    fn rotate_issuer<'a>(&'a self, by: &'a Caller, what: RotateIssuer) -> Reply<'a, Changed> {
        Box::pin(self.rotate_issuers(by, what))
    }
}
