//! Compression, damage, odd line ends, large inputs.
use std::io::{self, Read, Write};

use collect::{Collect, Error};
use proptest::prelude::*;

use crate::{Memory, fixture, read, read_as};

fn row(at: usize) -> String {
    format!(
        "{{\"source_id\":\"s{at}\",\"conversation_id\":\"c\",\"timestamp\":{},\"request\":{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"q {at}\"}}]}},\"response\":{{\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"a\"}}}}]}}}}",
        1_760_000_000 + at
    )
}

fn rows(n: usize) -> Vec<u8> {
    (0..n).map(|at| row(at) + "\n").collect::<String>().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("an encoder");
    encoder.window_log(30).expect("a long window");
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn compression_is_told_by_the_bytes() {
    let plain = rows(300);
    let expected = read(&plain).0.calls;
    assert_eq!(expected.len(), 300);
    let twice: Vec<u8> = [gzip(&rows(300)[..]), gzip(b"")].concat();
    for packed in [gzip(&plain), zst(&plain), twice] {
        let (memory, counts) = read(&packed);
        assert_eq!((memory.calls.len(), counts.rejected), (300, 0));
        assert!(memory.calls == expected);
    }
}

#[test]
fn a_cut_or_damaged_stream_keeps_what_came_before() {
    let plain: Vec<u8> = (0..4000).flat_map(|at| (row(at * 7919 % 4001) + "\n").into_bytes()).collect();
    for packed in [gzip(&plain), zst(&plain)] {
        let (memory, counts) = read(&packed[..packed.len() * 3 / 4]);
        assert!(memory.calls.len() > 100, "{}", memory.calls.len());
        assert_eq!((memory.rejects.len(), counts.rejected), (1, 1));
        assert!(memory.rejects[0].problem.contains("damaged or cut off"), "{:?}", memory.rejects);
        assert_eq!(memory.rejects[0].line, memory.calls.len() as u64 + 1);
        let (memory, _) = read(&packed[..6]);
        assert_eq!((memory.calls.len(), memory.rejects.len()), (0, 1));
    }
}

#[test]
fn odd_text_is_taken_or_told() {
    for empty in [&b""[..], b"\n\r\n  \n", b"\xef\xbb\xbf"] {
        let (memory, counts) = read(empty);
        assert_eq!((counts.calls, counts.rejected, memory.rejects.len()), (0, 0, 0));
    }
    let odd = format!("\u{feff}{}\r\n\r\n  {}", row(1), row(2));
    assert_eq!(read(odd.as_bytes()).1.calls, 2, "mark, line ends, blanks, no last newline");
    let list = format!("[{},{}]", row(1), row(2));
    assert_eq!(read(list.as_bytes()).1.calls, 2, "a list on one line");
    let cut = format!("{}\n{}", row(1), &row(2)[..60]);
    let problem = |input: &[u8]| read(input).0.rejects.first().map(|reject| (reject.line, reject.problem.clone()));
    assert_eq!(problem(cut.as_bytes()), Some((2, "the last line is cut off".to_owned())));
    assert_eq!(problem(b"\n{\"a\":\"\xff\"}\n"), Some((2, "the line is no UTF-8 from byte 7 on".to_owned())));
    assert_eq!(read(b"\xff\xfe{\0}\0\n\0").0.rejects[0].problem, "the file is UTF-16");
}

#[test]
fn a_document_over_many_lines_is_read_element_by_element() {
    let pretty = |number| {
        let value: serde_json::Value = serde_json::from_str(&row(number)).expect("a row");
        serde_json::to_string_pretty(&value).expect("JSON")
    };
    let many: Vec<String> = (0..300).map(pretty).collect();
    let list = format!("[\n{}\n]\n", many.join(",\n"));
    let page = format!("{{\n\"data\": [\n{}],\n\"meta\": {{\"page\": 1}}\n}}", many.join(",\n"));
    for text in [list.as_str(), &page, &many.join("\n")] {
        let (memory, counts) = read(text.as_bytes());
        assert_eq!((counts.calls, counts.rejected, memory.largest), (300, 0, 300), "{:?}", memory.rejects.first());
        assert!(memory.calls.iter().enumerate().all(|(at, call)| call.source_id == format!("s{at}")));
    }
    let step = Collect { batch_rows: 64, ..Collect::default() };
    assert_eq!(read_as(&step, list.as_bytes()).0.largest, 64, "memory does not grow with the document");
    let (memory, counts) = read(&list.as_bytes()[..list.len() / 2]);
    assert_eq!((counts.calls, counts.rejected), (150, 1));
    let reject = &memory.rejects[0];
    assert!(reject.line == 151 && reject.problem.contains("EOF while parsing"), "{reject:?}");
    let (memory, counts) = read(b"[\n  {\n  },\n 7]\n");
    assert_eq!((counts.rejected, memory.rejects[1].line), (2, 2), "{:?}", memory.rejects);
}

#[test]
fn a_file_that_is_no_log_is_told_once() {
    let (memory, counts) = read(b"# Logs\n\nThey are read\nby a program.\n");
    assert_eq!((counts.calls, counts.rejected), (0, 1));
    assert!(memory.rejects[0].problem.starts_with("the file is no log"), "{:?}", memory.rejects);
}

#[test]
fn batches_are_bounded_and_in_order() {
    let step = Collect { batch_rows: 100, ..Collect::default() };
    let (memory, counts) = read_as(&step, &rows(1050)[..]);
    assert_eq!((counts.calls, memory.largest), (1050, 100));
    assert!(memory.calls.iter().enumerate().all(|(at, call)| call.source_id == format!("s{at}")));
}

#[test]
fn a_failing_disk_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let outcome = Collect::default().read("log", rows(3).chain(Broken), &mut Memory::default());
    assert!(matches!(outcome, Err(Error::Read { ref name, .. }) if name == "log"), "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever a line holds, it ends as calls or as a reject that names it, never in silence.
    #[test]
    fn no_line_is_lost(noise in prop::collection::vec(any::<u8>(), 0..80), at in 0_usize..4, cut in 0_usize..3000) {
        let names = ["openai.jsonl", "anthropic.jsonl", "rejects.jsonl", "streams.jsonl"];
        let mut bytes = fixture(names[at]);
        bytes.truncate(cut.max(5));
        bytes.push(b'\n');
        bytes.extend(noise.iter().filter(|byte| !matches!(byte, b'\n')));
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(|byte| b" \t\r".contains(byte))).count();
        let (memory, counts) = read(&bytes);
        prop_assert_eq!(counts.calls as usize + counts.rejected as usize, lines);
        prop_assert_eq!((memory.calls.len() as u64, memory.rejects.len() as u64), (counts.calls, counts.rejected));
    }
}
