//! One node as a process: what it was told, the services its role wants, and the supervisor that runs them.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`config`] | flags, environment and file, checked, with their origins |
//! | [`logs`] | what a node tells: levels, files, recent lines |
//! | [`roles`] | which services each role wants, as data |
//! | [`supervisor`] | brings what runs to what is wanted; owns every service; one way to stop |
//! | [`notify`] | what the service manager is told |
//!
//! Deliberately not here: what HTTP looks like (`web`), and reading the environment, which the program does.
#![forbid(unsafe_code)]

pub mod config;
pub mod logs;
pub mod notify;
pub mod roles;
pub mod supervisor;
