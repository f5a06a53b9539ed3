//! Tables in every supported notation, and tables with mistakes.

use super::*;

fn table(name: &str, bytes: &[u8], classes: Option<&[&str]>) -> Result<LabelTable> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs_err::write(&path, bytes).unwrap();
    let classes = classes.map(|c| c.iter().map(|name| name.to_string()).collect());
    read(&path, classes)
}

/// Returns the error message without the folder, which differs from run to run.
fn error(name: &str, bytes: &[u8], classes: Option<&[&str]>) -> String {
    let text = table(name, bytes, classes).unwrap_err().to_string();
    text.split('/').next_back().unwrap_or("").to_owned()
}

/// What spreadsheets and Windows write: byte order mark, CRLF, quotes, spaces, extra columns.
#[test]
fn all_ways_of_writing_give_the_same_table() {
    let plain = table(
        "a.csv",
        b"image,labels\na b.jpg,cat|dog\n\"c,d.jpg\",\ne.jpg,dog\n",
        None,
    );
    let plain = plain.unwrap();
    assert_eq!(plain.images(), ["a b.jpg", "c,d.jpg", "e.jpg"]);
    assert_eq!(plain.classes(), ["cat", "dog"]);
    assert_eq!(plain.class_counts(), [1, 2]);
    let same: [(&str, &[u8]); 6] = [
        ("a.csv", b"\xef\xbb\xbfimage,labels\r\na b.jpg,dog|cat\r\n\"c,d.jpg\",\r\ne.jpg,dog\r\n"),
        ("a.csv", b"width,labels, image\n1,dog|cat|dog,a b.jpg\n2,,\"c,d.jpg\"\n3,dog,e.jpg"),
        ("a.tsv", b"image\tlabels\na b.jpg\tcat | dog\nc,d.jpg\t\ne.jpg\tdog|\n"),
        ("a.csv", b"image,dog,cat\na b.jpg,1,1\n\"c,d.jpg\",0,0\ne.jpg,1,0\n"),
        ("a.jsonl", b"{\"image\": \"a b.jpg\", \"labels\": [\"cat\", \"dog\"]}\r\n\n{\"labels\": [], \"image\": \"c,d.jpg\", \"x\": [1]}\n{\"file_name\": \"e.jpg\", \"labels\": [\"dog\"]}"),
        ("a.ndjson", b"\xef\xbb\xbf{\"image\": \"a b.jpg\", \"labels\": [\"dog\", \"cat\"]}\n{\"labels\": [], \"image\": \"c,d.jpg\"}\n{\"path\": \"e.jpg\", \"labels\": [\"dog\"]}\n"),
    ];
    for (name, bytes) in same {
        assert_eq!(
            table(name, bytes, None).unwrap(),
            plain,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn columns_that_are_not_looked_at_are_told_of() {
    let told = |name: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, text).unwrap();
        let mut reading = Reading::over(None);
        read_rows(&path, &Separator::default(), &mut reading).unwrap();
        let facts = reading.account.facts().into_iter();
        let facts = facts.map(|fact| (fact.what, fact.first.join(" ")));
        facts.collect::<Vec<_>>()
    };
    let of = |what: &str, names: &str| (what.to_owned(), names.to_owned());
    let expected = [
        of("2 columns besides image and labels ignored", "note width"),
        of("1 column that could name sets ignored", "Split"),
    ];
    let text = "note,image,Split,labels,width,\na,b.jpg,train,cat,3,\nb,c.jpg,test,cat,4,\n";
    assert_eq!(told("a.csv", text), expected);
    let text = "{\"note\": 1, \"image\": \"b.jpg\", \"Split\": \"train\", \"labels\": [\"cat\"]}\n\
        {\"image\": \"c.jpg\", \"labels\": [\"cat\"], \"width\": [1, {}], \"note\": null}\n";
    assert_eq!(told("a.jsonl", text), expected);
    assert_eq!(told("a.csv", "image,labels\nb.jpg,cat\n"), []);
    // Without `labels`, every column is a class.
    assert_eq!(told("a.csv", "image,split,cat\nb.jpg,1,0\n"), []);
}

#[test]
fn a_class_list_fixes_order_and_names() {
    let bytes = b"image,labels\na.jpg,cat\nb.jpg,dgo\n";
    let read = table("a.csv", b"image,labels\na.jpg,cat\n", Some(&["dog", "cat"])).unwrap();
    assert_eq!(
        (read.classes()[1].as_str(), read.labels(0)),
        ("cat", &[1][..])
    );
    let text = error("a.csv", bytes, Some(&["dog", "cat"]));
    assert_eq!(text, "a.csv:3: unknown class `dgo`");
    let text = error("a.csv", b"image,dgo\na.jpg,1\n", Some(&["dog"]));
    assert_eq!(text, "a.csv:1: unknown class `dgo`");
}

#[test]
fn mistakes_name_file_and_line() {
    let cases: [(&str, &[u8], &str); 12] = [
        ("a.csv", b"", "a.csv: the file is empty"),
        (
            "a.csv",
            b"picture;labels\nx;y\n",
            "a.csv:1: the header has no column `image`",
        ),
        (
            "a.csv",
            b"image\nx\n",
            "a.csv:1: the header has no column `labels`",
        ),
        ("a.csv", b"image,labels\n", "a.csv: the table has no images"),
        (
            "a.csv",
            b"image,labels\na,x\nb\xff,x\n",
            "a.csv:3: the text is not UTF-8",
        ),
        (
            "a.csv",
            b"image,labels\na,x\nb,x,y\n",
            "a.csv:3: 3 columns, but the header has 2",
        ),
        (
            "a.csv",
            b"image,labels\na,x\n,x\n",
            "a.csv:3: the image name is empty",
        ),
        (
            "a.csv",
            b"image,labels\na,x\nb,x\na,y\n",
            "a.csv:4: image `a` is already on line 2",
        ),
        (
            "a.csv",
            b"image,x\na,1\nb,2\n",
            "a.csv:3: column `x` contains `2`, expected 0 or 1",
        ),
        (
            "a.jsonl",
            b"{\"image\": \"a\", \"labels\": []}\n{\"image\": 3}\n",
            "a.jsonl:2: at column",
        ),
        (
            "a.jsonl",
            b"{\"image\": \"a\", \"labels\": [\"x\"\n",
            "a.jsonl:1: malformed JSON at column",
        ),
        ("a.xlsx", b"PK", "a.xlsx: cannot tell the table's format"),
    ];
    for (name, bytes, wanted) in cases {
        let text = error(name, bytes, None);
        assert!(text.starts_with(wanted), "{text}\nexpected {wanted}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut labels = LabelTable::new(vec!["a, \"b\"".into(), "c".into()]);
    labels.push("x,\"1.jpg", [0, 1]);
    labels.push("y.jpg", []);
    let mut bytes = Vec::new();
    write_csv(&labels, &mut bytes).unwrap();
    let read = table("a.csv", &bytes, Some(&["a, \"b\"", "c"])).unwrap();
    assert_eq!(read, labels);
}
