//! What `build.rs` makes of the headers of `lua/*.lua`: for each script a struct that is a call of it, with keys and arguments by
//! their names, and a module with what comes back.

// A field of a reply is there for whoever reads the header, whether or not it is read today.
#![allow(dead_code)]

use std::sync::LazyLock;
use std::time::Duration;

use redis::Value;

use super::error::Error;
use super::keys::{AlertKeys, Bucket, Keys, RecordKeys, WebhookKeys};
use super::script::{Argument, Call, Change, Field, Reply, Request, Script, text};
use crate::names::{LeaseId, PoolName};
use crate::time::Timestamp;

include!(concat!(env!("OUT_DIR"), "/scripts.rs"));
