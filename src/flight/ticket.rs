//! Tickets: values, not handles.
//!
//! | ticket | CBOR map |
//! | --- | --- |
//! | [`QueryTicket`] | `{"version": 1, "sql": text}`, and `"parameters": bytes` |
//! | [`TensorTicket`] | `{"version": 1, "tensor": bytes, "check": xxh3-64 of the bytes}` |
//!
//! The bytes of a tensor ticket are the CBOR of what it asks for. They are checked because one damaged number would
//! be as good a position as the one that it was.

use super::slab::{Positions, SlabMissing};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The version that this server writes, and the only one that it reads.
pub const VERSION: u64 = 1;

/// What `DoGet` is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ticket {
    /// The result of a statement.
    Query(QueryTicket),
    /// Values with shape.
    Tensor(TensorTicket),
}

/// What a ticket says: the statement to run, with the values of its parameters. Any server over the same tables can
/// redeem it, any number of times; Flight SQL carries the same bytes as the handle of its `TicketStatementQuery` and
/// of prepared statements. Parameters are an Arrow IPC stream of one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryTicket {
    version: u64,
    sql: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameters: Option<ciborium::Value>,
}

/// What is asked of a tensor table. It names the state of the data, so that a server over other data refuses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorTicket {
    /// The labels of the dims of `table`.
    Coords {
        /// As `for_path` takes it.
        table: String,
        /// Of the table.
        identity: u64,
    },
    /// Cells of a variable.
    Slab(SlabTicket),
}

/// The product of positions along each dim of a variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlabTicket {
    /// As `for_path` takes it.
    pub table: String,
    /// Name of the variable.
    pub variable: String,
    /// Outermost dim first.
    pub dims: Vec<Positions>,
    /// How missing cells are marked.
    pub missing: SlabMissing,
    /// Of the variable.
    pub identity: u64,
}

/// How a tensor ticket travels.
#[derive(Serialize, Deserialize)]
struct Sealed {
    version: u64,
    tensor: ciborium::Value,
    check: u64,
}

/// Why bytes are no ticket of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not CBOR, or not the map that a ticket is.
    #[error("the ticket is not one of this server's: {0}")]
    Malformed(String),
    /// Written by a newer or older server.
    #[error("the ticket is of version {0}; this server reads version {VERSION}")]
    Version(u64),
}

/// What is read first, whatever else a ticket of another version holds.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
    #[serde(default)]
    tensor: Option<serde::de::IgnoredAny>,
}

impl Ticket {
    /// Reads what [`QueryTicket::encode`] or [`TensorTicket::encode`] wrote.
    ///
    /// # Errors
    /// [`TicketError::Version`] if `bytes` say that they are of another version, else [`TicketError::Malformed`] for
    /// anything that isn't exactly one ticket, and for tensor tickets that are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, TicketError> {
        let Versioned { version, tensor } = read(bytes)?;
        if version != VERSION {
            return Err(TicketError::Version(version));
        }
        match tensor {
            Some(_) => TensorTicket::unseal(bytes).map(Self::Tensor),
            None => QueryTicket::decode(bytes).map(Self::Query),
        }
    }
}

impl TensorTicket {
    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        let body = write(self);
        let check = xxh3_64(&body);
        write(&Sealed { version: VERSION, tensor: ciborium::Value::Bytes(body), check })
    }

    fn unseal(bytes: &[u8]) -> Result<Self, TicketError> {
        let Sealed { tensor, check, .. } = read(bytes)?;
        let ticket = match tensor.as_bytes() {
            Some(body) if xxh3_64(body) == check => Some(read::<Self>(body)?),
            _ => None,
        };
        // CBOR spells some things in several ways, of which tickets have one.
        let sound = ticket.filter(|ticket| ticket.encode() == bytes);
        sound.ok_or_else(|| TicketError::Malformed("it is damaged".into()))
    }
}

impl QueryTicket {
    /// A ticket for `sql`.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { version: VERSION, sql: sql.into(), parameters: None }
    }

    /// The same with `row`, an Arrow IPC stream of one row, for `$1`, `$2`, ...
    #[must_use]
    pub fn with_parameters(self, row: Vec<u8>) -> Self {
        Self { parameters: Some(ciborium::Value::Bytes(row)), ..self }
    }

    /// The statement.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The row of parameters, an Arrow IPC stream.
    pub fn parameters(&self) -> Option<&[u8]> {
        self.parameters.as_ref().and_then(|row| row.as_bytes()).map(Vec::as_slice)
    }

    /// As it travels.
    pub fn encode(&self) -> Vec<u8> {
        write(self)
    }

    /// Reads what [`QueryTicket::encode`] wrote.
    ///
    /// # Errors
    /// [`TicketError::Version`] if `bytes` say that they are of another version, else
    /// [`TicketError::Malformed`] for anything that isn't exactly one ticket.
    pub fn decode(bytes: &[u8]) -> Result<Self, TicketError> {
        let Versioned { version, .. } = read(bytes)?;
        if version != VERSION {
            return Err(TicketError::Version(version));
        }
        let ticket: Self = read(bytes)?;
        match &ticket.parameters {
            None | Some(ciborium::Value::Bytes(_)) => Ok(ticket),
            Some(_) => Err(TicketError::Malformed("its parameters are not bytes".into())),
        }
    }
}

/// `item` as CBOR.
fn write(item: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    // Maps of numbers, texts and bytes, written to memory: there is nothing that could fail.
    let written = ciborium::into_writer(item, &mut bytes);
    debug_assert!(written.is_ok(), "{written:?}");
    bytes
}

/// Reads one CBOR item that fills `bytes`.
fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, TicketError> {
    let mut rest = bytes;
    let item = ciborium::from_reader(&mut rest).map_err(|e| TicketError::Malformed(in_words(e)))?;
    if rest.is_empty() {
        Ok(item)
    } else {
        Err(TicketError::Malformed(format!("{} bytes follow it", rest.len())))
    }
}

fn in_words(error: ciborium::de::Error<std::io::Error>) -> String {
    match error {
        ciborium::de::Error::Io(_) => "it ends early".into(),
        ciborium::de::Error::Syntax(at) => format!("byte {at} is not CBOR"),
        ciborium::de::Error::Semantic(_, what) => what,
        ciborium::de::Error::RecursionLimitExceeded => "it is nested too deeply".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unknown_version_is_named_whatever_else_the_ticket_holds() {
        let mut bytes = Vec::new();
        let slab = ciborium::Value::Array(vec![1.into(), 2.into()]);
        let newer = ciborium::Value::Map(vec![("slab".into(), slab), ("version".into(), 7.into())]);
        ciborium::into_writer(&newer, &mut bytes).unwrap();
        assert_eq!(QueryTicket::decode(&bytes), Err(TicketError::Version(7)));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = QueryTicket::new("SELECT 1").encode();
        bytes.push(0);
        assert_eq!(QueryTicket::decode(&bytes), Err(TicketError::Malformed("1 bytes follow it".into())));
    }

    fn slab() -> TensorTicket {
        let dims = vec![Positions::Every { start: 3, count: 4, step: 5 }, Positions::Listed(vec![1, 2, 900])];
        let (table, variable) = ("forecast".into(), "t".into());
        TensorTicket::Slab(SlabTicket {
            table,
            variable,
            dims,
            missing: SlabMissing::Null,
            identity: u64::MAX,
        })
    }

    #[test]
    fn a_tensor_ticket_survives_the_wire_and_no_byte_of_it_can_change() {
        let coords = TensorTicket::Coords { table: "t".into(), identity: 7 };
        for ticket in [slab(), coords] {
            let bytes = ticket.encode();
            assert_eq!(Ticket::decode(&bytes), Ok(Ticket::Tensor(ticket)));
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    assert!(Ticket::decode(&damaged).is_err(), "byte {at}, bit {bit}");
                }
                assert!(Ticket::decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn tickets_of_both_kinds_are_told_apart() {
        let query = QueryTicket::new("SELECT 1");
        assert_eq!(Ticket::decode(&query.encode()), Ok(Ticket::Query(query)));
        assert!(QueryTicket::decode(&slab().encode()).is_err());
    }

    proptest! {
        #[test]
        fn tickets_survive_the_wire(sql in ".*", row in proptest::option::of(any::<Vec<u8>>())) {
            let plain = QueryTicket::new(sql);
            let ticket = row.iter().cloned().fold(plain, QueryTicket::with_parameters);
            prop_assert_eq!(ticket.parameters(), row.as_deref());
            prop_assert_eq!(QueryTicket::decode(&ticket.encode()), Ok(ticket));
        }

        #[test]
        fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(QueryTicket::decode(&bytes).is_err());
        }

        #[test]
        fn a_cut_ticket_is_an_error(sql in ".{1,40}", keep in 0.0..1.0f64) {
            let bytes = QueryTicket::new(sql).encode();
            let keep = (bytes.len() as f64 * keep) as usize;
            prop_assert!(QueryTicket::decode(&bytes[..keep]).is_err());
        }
    }
}
