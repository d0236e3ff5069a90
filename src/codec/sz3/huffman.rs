//! Huffman codes.
//!
//! ```text
//! tree   smallest symbol i32 | nodes u32 | states u32 | byte order u8 | left | right | symbols i32 | leaf flags u8
//! codes  bytes u64 | bits, MSB first
//! ```
//! The first two numbers of the second line are big-endian. Left and right are node numbers of one, two or four bytes
//! each, as the number of nodes asks for; children come after their parents.

use super::Result;
use super::reader::Reader;

/// Bits that one look into the table resolves.
const TABLE_BITS: u32 = 11;

/// A checked tree.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// By the next [`TABLE_BITS`] bits: the node reached, and the bits that took.
    table: Vec<(u32, u8)>,
}

#[derive(Debug, Clone, Copy)]
enum Node {
    Leaf(i32),
    Inner([u32; 2]),
}

impl Tree {
    pub(super) fn read(raw: &mut Reader<'_>) -> Result<Self> {
        let offset = raw.i32()?;
        let count = raw.u32_big_endian()?;
        let _states = raw.u32_big_endian()?;
        let order = raw.u8()?;
        if count == 0 || order != 0 {
            return Err(format!("a tree of {count} nodes in byte order {order}"));
        }
        let width = match count {
            0..=256 => 1,
            257..=65_536 => 2,
            _ => 4,
        };
        let (children, symbols) = (width * u64::from(count), 4 * u64::from(count));
        let [left, right] = [raw.bytes(children)?, raw.bytes(children)?];
        let (symbols, leaves) = (raw.bytes(symbols)?, raw.bytes(u64::from(count))?);
        let child = |children: &[u8], node: u32| {
            let at = node as usize * width as usize;
            let child =
                children[at..at + width as usize].iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte));
            // Children come later, so that no path is endless.
            if child > node && child < count {
                Ok(child)
            } else {
                Err(format!("child {child} of node {node} of {count}"))
            }
        };
        let mut nodes = Vec::with_capacity(count as usize);
        for (node, symbol) in (0..count).zip(symbols.as_chunks().0) {
            nodes.push(match leaves[node as usize] {
                0 => Node::Inner([child(left, node)?, child(right, node)?]),
                _ => Node::Leaf(i32::from_le_bytes(*symbol).wrapping_add(offset)),
            });
        }
        let table = (0..1 << TABLE_BITS).map(|bits| resolve(&nodes, bits << (32 - TABLE_BITS), TABLE_BITS));
        let table = table.collect();
        Ok(Self { nodes, table })
    }

    /// The codes that follow.
    pub(super) fn codes<'a>(self, raw: &mut Reader<'a>) -> Result<Codes<'a>> {
        let len = raw.u64()?;
        let bytes = raw.bytes(len)?;
        Ok(Codes { tree: self, bytes, at: 0 })
    }
}

/// Where the first `count` bits of `bits`, from the top, lead: a leaf and the bits it took, or an inner node.
fn resolve(nodes: &[Node], bits: u32, count: u32) -> (u32, u8) {
    let mut node = 0;
    for depth in 0..count {
        match nodes[node as usize] {
            Node::Leaf(_) => return (node, depth as u8),
            Node::Inner(children) => node = children[(bits >> (31 - depth) & 1) as usize],
        }
    }
    (node, count as u8)
}

/// Reads one symbol after the other.
#[derive(Debug)]
pub(super) struct Codes<'a> {
    tree: Tree,
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
}

impl Codes<'_> {
    /// The next symbol.
    ///
    /// # Errors
    /// If there are no more bits.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<i32> {
        let window = self.peek();
        let (node, len) = self.tree.table[(window >> (32 - TABLE_BITS)) as usize];
        self.at += usize::from(len);
        let symbol = match self.tree.nodes[node as usize] {
            Node::Leaf(symbol) => symbol,
            Node::Inner(children) => self.long(children)?,
        };
        if self.at > 8 * self.bytes.len() {
            return Err("the codes end before the last value".into());
        }
        Ok(symbol)
    }

    /// A symbol whose code goes on.
    #[cold]
    fn long(&mut self, mut children: [u32; 2]) -> Result<i32> {
        loop {
            let byte = self.bytes.get(self.at / 8).ok_or("the codes end before the last value")?;
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            match self.tree.nodes[children[usize::from(bit)] as usize] {
                Node::Leaf(symbol) => return Ok(symbol),
                Node::Inner(next) => children = next,
            }
        }
    }

    /// The next bits, at least 25, from the top; zeros beyond the end.
    #[inline(always)]
    fn peek(&self) -> u32 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk() {
            Some(word) => u32::from_be_bytes(*word),
            None => {
                let mut word = [0; 4];
                word[..rest.len()].copy_from_slice(rest);
                u32::from_be_bytes(word)
            }
        };
        word << (self.at % 8)
    }
}
