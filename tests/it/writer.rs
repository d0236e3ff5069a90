//! What `tgm::Writer` writes: read back, checked, and beside the reference's own bytes.

use crate::corpus;
use crate::memory_source::MemorySource;
use millibar::source::{LocalFile, Source};
use millibar::tgm::{
    self, ByteOrder, Checks, DType, Descriptor, EncodedObject, File, Issue, Limits, Map, MaskEntry, MaskKind,
    Message, Metadata, Placement, Provenance, Value, WriteOptions, Writer, check, map_to_json,
};
use millibar::{Error, Result};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

/// One of everything that a frame of an object holds.
#[derive(Debug, Clone)]
struct Owned {
    base: Map,
    descriptor: Descriptor,
    region: Vec<u8>,
    /// Whether, in a stream, its metadata stands before it.
    preceded: bool,
}

impl Owned {
    fn borrow(&self) -> EncodedObject<'_> {
        EncodedObject { descriptor: &self.descriptor, region: &self.region }
    }
}

fn plain(region: Vec<u8>) -> Owned {
    let descriptor = Descriptor {
        dtype: DType::UInt8,
        shape: vec![region.len() as u64],
        byte_order: ByteOrder::Little,
        encoding: "none".into(),
        filter: "none".into(),
        compression: "none".into(),
        masks: vec![],
        params: Map::new(),
    };
    Owned { base: Map::new(), descriptor, region, preceded: false }
}

fn fixed() -> WriteOptions {
    WriteOptions {
        provenance: Provenance::Fixed { time: 1_767_323_045, uuid: 77 },
        ..WriteOptions::default()
    }
}

fn write(options: &WriteOptions, extra: &Map, objects: &[Owned], streaming: Option<bool>) -> Result<Vec<u8>> {
    let mut writer = Writer::new("w.tgm", Cursor::new(Vec::new()), options.clone());
    put(&mut writer, extra, objects, streaming)?;
    Ok(writer.finish()?.into_inner())
}

/// Writes one message: buffered, or streaming with its length filled in or not.
fn put(
    writer: &mut Writer<Cursor<Vec<u8>>>,
    extra: &Map,
    objects: &[Owned],
    streaming: Option<bool>,
) -> Result<()> {
    let known = |o: &Owned| if streaming.is_some() && o.preceded { Map::new() } else { o.base.clone() };
    let metadata =
        Metadata { base: objects.iter().map(known).collect(), extra: extra.clone(), reserved: Map::new() };
    match streaming {
        None => {
            let borrowed: Vec<_> = objects.iter().map(Owned::borrow).collect();
            writer.message(&metadata, &borrowed)?;
        }
        Some(sized) => {
            let mut stream = writer.stream(metadata)?;
            for object in objects {
                stream.object(object.borrow(), object.preceded.then_some(&object.base))?;
            }
            if sized {
                stream.finish_sized()?
            } else {
                stream.finish()?
            };
        }
    }
    Ok(())
}

fn read(bytes: Vec<u8>) -> (Arc<MemorySource>, Vec<Arc<Message>>) {
    let source = MemorySource::new(bytes);
    let file = File::open(source.clone(), &Limits::default()).unwrap();
    (source, file.messages.into_iter().map(Result::unwrap).collect())
}

/// Everything that a check has to say.
fn issues(source: &dyn Source) -> Vec<Issue> {
    let mut found = Vec::new();
    let checks = Checks { hashes: true, canonical: true };
    let between = check(source, &Limits::default(), checks, |checked| {
        found.extend(checked.issues);
        Ok(())
    });
    found.extend(between.unwrap());
    found
}

fn assert_equal(source: &dyn Source, message: &Message, extra: &Map, objects: &[Owned]) {
    assert_eq!(map_to_json(&message.metadata.extra), map_to_json(extra));
    assert_eq!(message.objects.len(), objects.len());
    for (i, (object, wrote)) in message.objects.iter().zip(objects).enumerate() {
        assert_eq!(map_to_json(&message.metadata.base[i]), map_to_json(&wrote.base));
        assert_same(&object.descriptor, &wrote.descriptor);
        assert_eq!(source.read(object.region.clone()).unwrap(), wrote.region);
    }
}

/// Maps inside of parameters are read in the order in which they are written, which is that of their keys.
fn assert_same(read: &Descriptor, wrote: &Descriptor) {
    let params = |d: &Descriptor| {
        let masks: Vec<_> = d.masks.iter().map(|mask| map_to_json(&mask.params)).collect();
        (map_to_json(&d.params), masks)
    };
    let bare = |d: &Descriptor| {
        let masks = d.masks.iter().map(|mask| MaskEntry { params: Map::new(), ..mask.clone() });
        Descriptor { masks: masks.collect(), params: Map::new(), ..d.clone() }
    };
    assert_eq!((bare(read), params(read)), (bare(wrote), params(wrote)));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("NaN differs from itself", |x| !x.is_nan()).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        ".{0,30}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..30).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[a-z.]{0,26}", inner, 0..5)
                .prop_map(|map| Value::Map(map.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

fn map() -> impl Strategy<Value = Map> {
    prop::collection::btree_map("[a-z]{1,9}", value(), 0..4)
}

fn object() -> impl Strategy<Value = Owned> {
    let mask = (0..3usize, 0..40u64, 0..40u64, "[a-z]{1,7}", map());
    let stage = || prop_oneof![Just("none".to_string()), "[a-z0-9_]{1,12}"];
    (
        prop::sample::select(DType::ALL.to_vec()),
        prop::collection::vec(0..5u64, 0..5),
        any::<bool>(),
        (stage(), stage(), stage()),
        prop::collection::vec(mask, 0..3),
        prop::collection::vec(any::<u8>(), 40..300),
        (map(), map(), any::<bool>()),
    )
        .prop_map(|(dtype, shape, big, stages, masks, mut region, (base, params, preceded))| {
            let kinds = [MaskKind::NaN, MaskKind::PosInf, MaskKind::NegInf];
            let masks: BTreeMap<_, _> = masks
                .into_iter()
                .map(|(kind, offset, length, method, params)| {
                    (kind, MaskEntry { kind: kinds[kind], method, offset, length, params })
                })
                .collect();
            region.resize(region.len().max(80), 0);
            let descriptor = Descriptor {
                dtype,
                shape,
                byte_order: if big { ByteOrder::Big } else { ByteOrder::Little },
                encoding: stages.0,
                filter: stages.1,
                compression: stages.2,
                masks: masks.into_values().collect(),
                params: params.into_iter().map(|(key, value)| (format!("p_{key}"), value)).collect(),
            };
            Owned { base, descriptor, region, preceded }
        })
}

fn options() -> impl Strategy<Value = WriteOptions> {
    let placement = || {
        prop::sample::select(vec![
            Placement::Auto,
            Placement::Header,
            Placement::Footer,
            Placement::Both,
            Placement::None,
        ])
    };
    let provenance = prop_oneof![
        Just(Provenance::Fresh),
        Just(Provenance::Given),
        (any::<u32>(), any::<u128>()).prop_map(|(time, uuid)| Provenance::Fixed { time: time.into(), uuid }),
    ];
    (any::<bool>(), placement(), placement(), provenance).prop_map(
        |(hashes, index, hash_frame, provenance)| WriteOptions { hashes, index, hash_frame, provenance },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_is_written_is_read(
        options in options(),
        messages in prop::collection::vec(
            (map(), prop::collection::vec(object(), 0..5), prop::option::of(any::<bool>())), 1..4),
    ) {
        let mut writer = Writer::new("w.tgm", Cursor::new(Vec::new()), options.clone());
        let in_header = |placement| matches!(placement, Placement::Header | Placement::Both);
        let refused = in_header(options.index) || in_header(options.hash_frame);
        let mut wrote = Vec::new();
        for (extra, objects, streaming) in messages {
            match put(&mut writer, &extra, &objects, streaming) {
                Ok(()) => wrote.push((extra, objects)),
                Err(error) => {
                    prop_assert!(streaming.is_some() && refused, "{error}");
                    return Ok(());
                }
            }
        }
        let bytes = writer.finish().unwrap().into_inner();
        prop_assert_eq!(bytes.len() % 8, 0);
        let (source, read) = read(bytes);
        prop_assert_eq!(read.len(), wrote.len());
        for (message, (extra, objects)) in read.iter().zip(&wrote) {
            assert_equal(&*source, message, extra, objects);
            for object in &message.objects {
                let verified = tgm::verify(object, &*source);
                prop_assert_eq!(verified.is_ok(), options.hashes);
            }
        }
        let unhashed = |issue: &Issue| issue.problem == tgm::Problem::MissingHash && !options.hashes;
        let found: Vec<_> = issues(&*source).into_iter().filter(|issue| !unhashed(issue)).collect();
        prop_assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let objects = [plain(vec![1; 40]), plain(vec![2; 7])];
    let extra = Map::from([("a".to_string(), 1.5.into())]);
    for streaming in [None, Some(false), Some(true)] {
        let bytes = || write(&fixed(), &extra, &objects, streaming).unwrap();
        assert_eq!(bytes(), bytes());
        let fresh = || write(&WriteOptions::default(), &extra, &objects, streaming).unwrap();
        assert_ne!(fresh(), fresh());
    }
    let (_, messages) = read(write(&fixed(), &extra, &objects, None).unwrap());
    let reserved = map_to_json(&messages[0].metadata.reserved);
    assert_eq!(reserved["time"], "2026-01-02T03:04:05Z");
    assert_eq!(reserved["uuid"], "00000000-0000-4000-8000-00000000004d");
    assert_eq!(reserved["encoder"]["name"], "millibar");
}

#[test]
fn the_index_is_right_where_its_own_length_is_in_the_balance() {
    // Offsets that straddle a step in the length of CBOR integers: the reference gives up on these.
    let straddles = [(1, 289..=301), (1, 840..=842), (800, 75..=100), (800, 142..=147), (800, 187..=194)];
    for (bytes, counts) in straddles {
        for count in counts {
            let objects = vec![plain(vec![7; bytes]); count];
            for index in [Placement::Header, Placement::Both] {
                let options = WriteOptions { index, ..fixed() };
                let source = MemorySource::new(write(&options, &Map::new(), &objects, None).unwrap());
                assert_eq!(issues(&*source), [], "{count} objects of {bytes} bytes");
            }
        }
    }
}

#[test]
fn what_no_reader_would_take_is_not_written() {
    let error = |object: Owned| write(&fixed(), &Map::new(), &[object], None).unwrap_err().to_string();
    let mut reserved = plain(vec![0; 8]);
    reserved.base.insert("_reserved_".into(), Value::Null);
    assert!(error(reserved.clone()).contains("`base[0]._reserved_` is the library's"));
    reserved.preceded = true;
    let streamed = write(&fixed(), &Map::new(), &[reserved], Some(true)).unwrap_err().to_string();
    assert!(streamed.contains("is the library's"), "{streamed}");
    let mut hidden = plain(vec![0; 8]);
    hidden.descriptor.params.insert("shape".into(), Value::Null);
    assert_eq!(
        error(hidden),
        "w.tgm, message 0, object 0: bad metadata: `shape` is a key of the format, not a parameter"
    );
    let mut masked = plain(vec![0; 8]);
    let mask =
        MaskEntry { kind: MaskKind::NaN, method: "rle".into(), offset: 5, length: 4, params: Map::new() };
    masked.descriptor.masks.push(mask);
    assert!(error(masked).contains("NaN mask of 4 bytes at offset 5 leaves a payload region of 8"));

    let mut writer = Writer::new("w.tgm", Vec::new(), fixed());
    let two = Metadata { base: vec![Map::new(); 2], ..Metadata::default() };
    let object = plain(vec![0; 8]);
    let said = writer.message(&two, &[object.borrow()]).unwrap_err().to_string();
    assert!(said.contains("`base` has 2 entries for 1 objects"), "{said}");
    let torn = writer.message(&Metadata::default(), &[]).unwrap_err();
    assert!(torn.to_string().contains("message 0: broken framing: it was left incomplete"), "{torn}");
    assert!(writer.finish().is_err());
}

#[test]
fn a_stream_can_not_have_its_index_in_front() {
    for placement in [Placement::Header, Placement::Both] {
        let options = WriteOptions { index: placement, ..fixed() };
        let error = write(&options, &Map::new(), &[], Some(true)).unwrap_err();
        assert!(matches!(&error, Error::Option { option, .. } if option == "index"), "{error}");
    }
}

/// How a message of the corpus was written, as far as it can be told.
fn options_of(message: &Message) -> (WriteOptions, bool) {
    let bit = |bit: u16| message.flags & 1 << bit != 0;
    let hash_frame = match (bit(4), bit(5)) {
        (true, true) => Placement::Both,
        (true, false) => Placement::Header,
        (false, true) => Placement::Footer,
        (false, false) => Placement::None,
    };
    let index = if bit(3) { Placement::Footer } else { Placement::Auto };
    (WriteOptions { hashes: bit(7), index, hash_frame, provenance: Provenance::Given }, bit(1))
}

/// Writes the messages of a file once more, from what was read of them; in streams, what is said of objects stands
/// before each or in the header.
fn again(file: &File, preceded: bool) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for message in &file.messages {
        let message = message.as_ref().map_err(Clone::clone)?;
        let (options, streaming) = options_of(message);
        let mut writer = Writer::new("again", Cursor::new(Vec::new()), options);
        let regions: Vec<_> =
            message.objects.iter().map(|o| file.source.read(o.region.clone())).collect::<Result<_>>()?;
        let objects: Vec<_> = message
            .objects
            .iter()
            .zip(&regions)
            .map(|(object, region)| EncodedObject { descriptor: &object.descriptor, region })
            .collect();
        if streaming {
            let base = &message.metadata.base;
            let known = if preceded || base.iter().all(Map::is_empty) { vec![] } else { base.clone() };
            let mut stream = writer.stream(Metadata { base: known, ..message.metadata.clone() })?;
            for (object, base) in objects.iter().zip(base) {
                stream.object(*object, Some(base).filter(|base| preceded && !base.is_empty()))?;
            }
            let end = message.span.end;
            let length = file.source.read(end - 16..end - 8)?;
            if length.iter().all(|byte| *byte == 0) {
                stream.finish()?
            } else {
                stream.finish_sized()?
            };
        } else {
            writer.message(&message.metadata, &objects)?;
        }
        bytes.extend(writer.finish()?.into_inner());
    }
    Ok(bytes)
}

/// Folders of the corpus that hold messages put together by hand: as odd as the format allows, and not what any writer
/// writes.
const BY_HAND: [&str; 3] = ["framing/", "quirks/", "metadata/"];

#[test]
fn the_reference_writes_the_same_bytes() {
    let Some(dir) = corpus::dir() else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    let (mut same, mut differ) = (Vec::new(), Vec::new());
    for entry in manifest["files"].as_array().unwrap() {
        let path = entry["path"].as_str().unwrap();
        let bytes = std::fs::read(dir.join(path)).unwrap();
        let file =
            File::open(Arc::new(LocalFile::open(dir.join(path)).unwrap()), &Limits::default()).unwrap();
        let equal = [false, true].iter().any(|&how| again(&file, how).is_ok_and(|again| again == bytes));
        if equal { same.push(path.to_owned()) } else { differ.push(path.to_owned()) }
    }
    // What has no byte order gets the one that it was read in.
    let known = |path: &str| {
        path.ends_with("_byte_order_absent.tgm") || BY_HAND.iter().any(|folder| path.starts_with(folder))
    };
    let strays: Vec<_> = differ.iter().filter(|path| !known(path)).collect();
    assert!(strays.is_empty(), "{strays:?}");
    assert!(same.len() >= 300, "{} same, differing: {differ:?}", same.len());
    for streaming in
        ["framing/stream_seekable.tgm", "framing/stream_non_seekable.tgm", "framing/aggregate_hash_both.tgm"]
    {
        assert!(same.iter().any(|path| path == streaming), "{differ:?}");
    }
}
