//! The statistics of a small split, worked out by hand, and the files they are written to.

use std::path::Path;

use super::*;
use crate::data::split::{Distribution, Source, Table};
use crate::io::write_text;

/// A split of six training images, with a class name that would break an unescaped page.
fn split(folder: &Path) -> Split {
    let train = "image,labels\n1,a|<b>\n2,a|<b>\n3,a\n4,\n5,a|<b>|c\n6,a|c\n";
    let test = "image,labels\n7,a\n8,a|<b>\n";
    write_text(&folder.join("train.csv"), train).unwrap();
    write_text(&folder.join("test.csv"), test).unwrap();
    let mut config = SplitConfig::new(Source::Table(Table {
        train: folder.join("train.csv"),
        test: Some(folder.join("test.csv")),
        ..Table::default()
    }));
    config.distribution = Distribution::AsIs {};
    config.groups.head = 5;
    config.groups.medium = 3;
    Split::build(&config).unwrap()
}

#[test]
fn figures_are_those_worked_out_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let s = SplitStatistics::new(&split(folder.path())).unwrap();
    assert_eq!((s.train_images, s.test_images), (6, 2));
    assert_eq!(s.imbalance_ratio, Some(2.5));
    assert_eq!(s.labels_per_image, 10.0 / 6.0);
    assert_eq!(s.test_labels_per_image, Some(1.5));
    assert_eq!((s.most_labels, s.unlabelled, s.label_sets), (3, 1, 5));
    assert_eq!(s.train_histogram, [1, 1, 3, 1]);
    assert_eq!(s.test_histogram, [0, 1, 1]);
    let rows: Vec<_> = s
        .classes
        .iter()
        .map(|r| (r.class.as_str(), r.train, r.test))
        .collect();
    assert_eq!(rows, [("a", 5, 2), ("<b>", 3, 1), ("c", 2, 0)]);
    assert_eq!(s.classes[1].labels_per_image, Some(7.0 / 3.0));
    let groups: Vec<_> = (s.groups.iter())
        .map(|g| {
            (
                g.group,
                g.classes,
                g.train_images,
                g.train_labels,
                g.test_labels,
            )
        })
        .collect();
    assert_eq!(
        groups,
        [
            (Group::Head, 1, 5, 5, 2),
            (Group::Medium, 1, 3, 3, 1),
            (Group::Tail, 1, 2, 2, 0)
        ]
    );
    assert_eq!(s.reference, None);
    // Uniform sampling shows each class as often as it occurs.
    assert_eq!(s.samplers[0].sampler, "uniform");
    let shares: Vec<f64> = s.classes.iter().map(|r| r.share).collect();
    let uniform = s.classes.iter().map(|r| s.samplers[0].frequency[r.index]);
    for (a, b) in uniform.zip(shares) {
        assert!((a - b).abs() < 1e-12);
    }
}

#[test]
fn the_report_is_whole_and_well_formed() {
    let folder = tempfile::tempdir().unwrap();
    let split = split(folder.path());
    let out = folder.path().join("report");
    write_report(&split, "A & B", &out).unwrap();
    let read = |name: &str| fs_err::read_to_string(out.join(name)).unwrap();
    // Classes are sorted by name: `<b>`, `a`, `c`.
    assert_eq!(
        read("co_occurrence.csv"),
        "class,<b>,a,c\n<b>,3,3,1\na,3,5,2\nc,1,2,2\n"
    );
    assert_eq!(
        read("conditional_probability.csv"),
        "class,<b>,a,c\n<b>,1,1,0.3333333333333333\na,0.6,1,0.4\nc,0.5,1,1\n"
    );
    assert_eq!(
        read("labels_per_image.csv"),
        "labels,train,test\n0,1,0\n1,1,1\n2,3,1\n3,1,0\n"
    );
    assert!(read("classes.csv").starts_with("class,index,group,train,validation,test,share"));
    assert!(read("samplers.csv").starts_with("class,uniform,class-aware"));
    for name in [
        "class_distribution.svg",
        "co_occurrence.svg",
        "labels_per_image.svg",
    ] {
        let svg = read(name);
        let document = roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(document.root_element().tag_name().name(), "svg");
    }
    let page = read("report.html");
    assert!(page.contains("A &amp; B") && page.contains("&lt;b&gt;"));
    assert!(!page.contains("<b>"), "a class name is not markup");
    // Self-contained: nothing is fetched.
    assert!(!page.contains("src=") && !page.contains("<link"));
}

/// A class without images and an empty test set: undefined values are empty, and nothing is divided
/// by 0.
#[test]
fn undefined_figures_stay_empty() {
    let folder = tempfile::tempdir().unwrap();
    write_text(&folder.path().join("t.csv"), "image,a,b\n1,1,0\n").unwrap();
    let mut config = SplitConfig::new(Source::Table(Table {
        train: folder.path().join("t.csv"),
        ..Table::default()
    }));
    config.distribution = Distribution::AsIs {};
    config.empty_classes = crate::data::split::EmptyClasses::Keep;
    let split = Split::build(&config).unwrap();
    let s = SplitStatistics::new(&split).unwrap();
    assert_eq!((s.imbalance_ratio, s.test_labels_per_image), (None, None));
    assert_eq!(s.classes[1].labels_per_image, None);
    let out = folder.path().join("report");
    write_report(&split, "x", &out).unwrap();
    let matrix = fs_err::read_to_string(out.join("conditional_probability.csv")).unwrap();
    assert_eq!(matrix, "class,a,b\na,1,0\nb,,\n");
    assert!(summary(&s).contains("undefined"));
    assert!(class_table(&split).contains("1 training images, 0 test images"));
}
