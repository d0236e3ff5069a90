//! Tensors over Flight: slabs of variables as values with shape.
//!
//! ```text
//! path or SlabRequest (JSON) -> positions along each dim -> blocks -> an endpoint each, with a SlabTicket
//! SlabTicket -> units of work -> dataset::slab -> tensors, whole rows of a few MiB -> FlightData
//! ```
//! A ticket holds positions, not labels or slices, and the identity of the data that they are positions of. Nothing is
//! kept between requests.

mod describe;
mod labels;
mod lease;
mod positions;
mod request;
mod send;
mod tensor;

pub use positions::Positions;
pub use request::SlabMissing;

pub(super) use describe::{coords, coords_schema};
pub(super) use request::SlabRequest;
pub(super) use send::send;

use super::ticket::{SlabTicket, TensorTicket};
use crate::dataset::{GridTable, Variable};
use crate::tensor::DimSelection;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;
use tensor::Layout;
use tonic::Status;

/// Endpoints of one flight at most: with their tickets they take about a megabyte.
pub(super) const MOST_ENDPOINTS: usize = 4096;

/// A slab of a variable of a table.
#[derive(Debug, Clone)]
pub(super) struct Slab {
    grid: Arc<GridTable>,
    /// Which of the grid's variables.
    variable: usize,
    /// Kept positions, outermost dim first.
    dims: Vec<DimSelection>,
    missing: SlabMissing,
}

impl Slab {
    /// What `ticket` asks for.
    ///
    /// # Errors
    /// `FailedPrecondition` if `grid` is of other data; `InvalidArgument` for positions that it hasn't got, and
    /// `NotFound` for variables.
    pub(super) fn of_ticket(grid: &Arc<GridTable>, ticket: &SlabTicket) -> Result<Self, Status> {
        let variable = variable_of(grid, &ticket.table, &ticket.variable)?;
        if grid.variables[variable].chunks.identity() != ticket.identity {
            return Err(changed(&ticket.table, &ticket.variable));
        }
        let lens = grid.dims.iter().map(|dim| dim.len() as u64);
        if ticket.dims.len() != grid.dims.len() || !lens.zip(&ticket.dims).all(|(len, dim)| dim.fits(len)) {
            return Err(Status::invalid_argument(
                "the ticket asks for positions that the variable hasn't got",
            ));
        }
        let dims = ticket.dims.iter().map(Positions::selection).collect();
        Ok(Self { grid: Arc::clone(grid), variable, dims, missing: ticket.missing })
    }

    fn variable(&self) -> &Variable {
        &self.grid.variables[self.variable]
    }

    /// Positions along each dim.
    fn shape(&self) -> Vec<u64> {
        self.dims.iter().map(DimSelection::len).collect()
    }
}

/// What `GetFlightInfo` says of `request`: the description of the slab, and an endpoint for each block.
///
/// # Errors
/// As [`SlabRequest::variable_of`], [`SlabRequest::positions`] and [`SlabRequest::cuts`].
pub(super) fn info(
    grid: &Arc<GridTable>,
    request: &SlabRequest,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let positions = request.positions(grid)?;
    let number = request.variable_of(grid)?;
    let variable = &grid.variables[number];
    let cuts = request.cuts(grid, variable, &positions, MOST_ENDPOINTS)?;
    let dims = positions.iter().map(Positions::selection).collect();
    let slab = Slab { grid: Arc::clone(grid), variable: number, dims, missing: request.missing };
    let names: Vec<&str> = grid.dims.iter().map(|dim| dim.name.as_str()).collect();
    let mut endpoints = Vec::new();
    let mut first = None;
    for block in blocks(&cuts) {
        let start: Vec<u64> = block.iter().map(|range| range.start).collect();
        let shape: Vec<u64> = block.iter().map(|range| range.end - range.start).collect();
        let about =
            json!({ "dims": names, "start": start, "shape": shape, "dtype": variable.dtype.to_string() });
        let dims = positions.iter().zip(block).map(|(positions, range)| positions.slice(range)).collect();
        let ticket = ticket(request, variable, dims);
        first.get_or_insert(shape);
        endpoints.push(
            FlightEndpoint::new()
                .with_ticket(Ticket::new(TensorTicket::Slab(ticket).encode()))
                .with_app_metadata(about.to_string()),
        );
    }
    let layout = Layout::new(&slab, &first.unwrap_or_default());
    let schema = layout.schema(&slab, describe::slab(&slab, &request.table));
    let mut info = FlightInfo::new().try_with_schema(&schema).map_err(|e| Status::internal(e.to_string()))?;
    info.endpoint = endpoints;
    let bytes = slab.shape().iter().product::<u64>().saturating_mul(tensor::width(variable.dtype));
    let info = info.with_descriptor(descriptor).with_ordered(true);
    Ok(info.with_total_bytes(i64::try_from(bytes).unwrap_or(-1)))
}

/// The ticket for all of `request`.
///
/// # Errors
/// As [`info`].
pub(super) fn ticket_of(grid: &GridTable, request: &SlabRequest) -> Result<SlabTicket, Status> {
    let variable = request.variable_of(grid)?;
    Ok(ticket(request, &grid.variables[variable], request.positions(grid)?))
}

fn ticket(request: &SlabRequest, variable: &Variable, dims: Vec<Positions>) -> SlabTicket {
    SlabTicket {
        table: request.table.clone(),
        variable: request.variable.clone(),
        dims,
        missing: request.missing,
        identity: variable.chunks.identity(),
    }
}

/// Every combination of `cuts`, C order.
fn blocks(cuts: &[Vec<Range<u64>>]) -> impl Iterator<Item = Vec<Range<u64>>> + '_ {
    let count = cuts.iter().map(Vec::len).product::<usize>();
    (0..count).map(move |number| {
        let mut rest = number;
        let mut block: Vec<Range<u64>> = Vec::with_capacity(cuts.len());
        for cuts in cuts.iter().rev() {
            block.push(cuts[rest % cuts.len()].clone());
            rest /= cuts.len();
        }
        block.reverse();
        block
    })
}

/// Which of the variables of `grid` that is.
fn variable_of(grid: &GridTable, table: &str, variable: &str) -> Result<usize, Status> {
    let position = grid.variables.iter().position(|known| known.name == variable);
    position.ok_or_else(|| Status::not_found(format!("table `{table}` has no variable `{variable}`")))
}

/// The identity of data as descriptions and requests spell it.
fn identity_text(identity: u64) -> String {
    format!("{identity:016x}")
}

fn changed(table: &str, what: &str) -> Status {
    let what = format!(
        "the data of `{what}` of table `{table}` changed since this was made: ask for its flight info again"
    );
    Status::failed_precondition(what)
}

/// Refuses a ticket for the coords of `grid` in another state.
///
/// # Errors
/// `FailedPrecondition`.
pub(super) fn check_coords(grid: &GridTable, table: &str, identity: u64) -> Result<(), Status> {
    if describe::identity(grid) == identity { Ok(()) } else { Err(changed(table, "the coords")) }
}

/// The ticket for the coords of `grid`.
pub(super) fn coords_ticket(grid: &GridTable, table: &str) -> TensorTicket {
    TensorTicket::Coords { table: table.into(), identity: describe::identity(grid) }
}
