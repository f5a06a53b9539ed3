//! Tests of the split folder: what is written can be read back, and bad input is rejected.

use std::path::{Path, PathBuf};

use super::*;
use crate::data::formats::Folder;
use crate::data::longtail::Pareto;
use crate::data::picture::Rgb8;
use crate::error::Error;
use crate::io::write_text;

/// A folder with a pool and a test table, and the configuration that reads them.
struct Fixture {
    folder: tempfile::TempDir,
    config: SplitConfig,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut pool = String::from("image,labels\n");
        for i in 0..400u32 {
            let labels: Vec<&str> = [("person", 2), ("cat", 5), ("dog", 7), ("cow", 40)]
                .into_iter()
                .filter_map(|(name, every)| (i % every == 1).then_some(name))
                .collect();
            pool += &format!("pool/{i:03}.jpg,{}\n", labels.join("|"));
        }
        write_text(&folder.path().join("pool.csv"), &pool).unwrap();
        let test = "image,labels\ntest/1.jpg,cat|person\ntest/2.jpg,dog\ntest/3.jpg,cow\n";
        write_text(&folder.path().join("test.csv"), test).unwrap();
        let mut config = SplitConfig::new(Source::Table(Table {
            train: folder.path().join("pool.csv"),
            test: Some(folder.path().join("test.csv")),
            ..Table::default()
        }));
        config.distribution = Distribution::Pareto(Pareto {
            max: 120,
            ..Pareto::default()
        });
        Fixture { folder, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn error(&self) -> String {
        Split::build(&self.config).unwrap_err().to_string()
    }
}

#[test]
fn a_folder_is_read_back_as_it_was_written() {
    let mut fixture = Fixture::new();
    fixture.config.validation = 0.2;
    fixture.config.groups = GroupThresholds {
        head: 50,
        medium: 6,
    };
    let split = Split::build(&fixture.config).unwrap();
    let dir = fixture.path("split");
    split.write(&dir, false).unwrap();
    let read = Split::read(&dir).unwrap();
    assert_eq!(read, split);
    // classes.csv agrees with a recount.
    let (train, test) = (read.train.class_counts(), read.test.class_counts());
    let rows: Vec<String> = (0..4)
        .map(|c| {
            let group = fixture.config.groups.group(train[c]);
            assert_eq!(group, read.groups[c]);
            format!("{},{},{},{group}\n", read.classes()[c], train[c], test[c])
        })
        .collect();
    let text = fs_err::read_to_string(dir.join("classes.csv")).unwrap();
    assert_eq!(text, format!("class,train,test,group\n{}", rows.concat()));
    // The training and validation sets are disjoint and come from the pool.
    let validation = read.validation.as_ref().unwrap();
    assert!(!validation.is_empty());
    assert!(
        validation
            .images()
            .iter()
            .all(|i| !read.train.images().contains(i))
    );
    // A non-empty folder is not written into without `force`, and no stale file is left behind.
    assert!(split.write(&dir, false).is_err());
    fixture.config.validation = 0.0;
    Split::build(&fixture.config)
        .unwrap()
        .write(&dir, true)
        .unwrap();
    assert!(Split::read(&dir).unwrap().validation.is_none());
}

#[test]
fn the_seed_decides_the_bytes() {
    let mut fixture = Fixture::new();
    let bytes = |fixture: &Fixture, name: &str| {
        let dir = fixture.path(name);
        Split::build(&fixture.config)
            .unwrap()
            .write(&dir, false)
            .unwrap();
        let files = ["train.csv", "test.csv", "classes.csv", "split.toml"];
        files.map(|file| fs_err::read(dir.join(file)).unwrap())
    };
    let first = bytes(&fixture, "a");
    assert_eq!(first, bytes(&fixture, "b"));
    fixture.config.seed = 1;
    let other = bytes(&fixture, "c");
    assert_ne!(first[0], other[0]);
    assert_eq!(first[1], other[1]);
}

#[test]
fn a_changed_table_is_noticed() {
    let fixture = Fixture::new();
    let dir = fixture.path("split");
    Split::build(&fixture.config)
        .unwrap()
        .write(&dir, false)
        .unwrap();
    let path = dir.join("train.csv");
    let text = fs_err::read_to_string(&path).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    let without_last = rest.trim_end().rsplit_once('\n').unwrap().0;
    write_text(&path, &format!("{first}\n{without_last}\n")).unwrap();
    let error = Split::read(&dir).unwrap_err().to_string();
    assert!(error.contains("hash"), "{error}");
    // A duplicate row is reported with its line, and so is an unknown class.
    let row = rest.lines().next().unwrap();
    write_text(&path, &format!("{first}\n{row}\n{row}\n")).unwrap();
    let error = Split::read(&dir).unwrap_err().to_string();
    assert!(
        error.contains("train.csv:3") && error.contains("line 2"),
        "{error}"
    );
    write_text(&path, &format!("{first}\nx.jpg,unicorn\n")).unwrap();
    let error = Split::read(&dir).unwrap_err().to_string();
    assert!(
        error.contains("train.csv:2: unknown class `unicorn`"),
        "{error}"
    );
    // split.toml with an unknown key, and no split.toml at all.
    let manifest = fs_err::read_to_string(dir.join("split.toml")).unwrap();
    write_text(&dir.join("split.toml"), &format!("sede = 1\n{manifest}")).unwrap();
    let error = Split::read(&dir).unwrap_err().to_string();
    assert!(
        error.contains("split.toml:1") && error.contains("sede"),
        "{error}"
    );
    assert!(
        error.contains("`format`"),
        "the accepted keys are named: {error}"
    );
    let error = Split::read(fixture.folder.path()).unwrap_err().to_string();
    assert!(error.contains("not a split folder"), "{error}");
}

#[test]
fn images_in_both_sets_are_refused_unless_allowed() {
    let mut fixture = Fixture::new();
    let test = "image,labels\npool/001.jpg,cat|person|dog|cow\npool/002.jpg,cat\n";
    write_text(&fixture.path("test.csv"), test).unwrap();
    fixture.config.distribution = Distribution::AsIs {};
    let error = fixture.error();
    assert!(
        error.contains("2 images") && error.contains("`pool/001.jpg`"),
        "{error}"
    );
    fixture.config.allow_overlap = true;
    let dir = fixture.path("split");
    Split::build(&fixture.config)
        .unwrap()
        .write(&dir, false)
        .unwrap();
    assert_eq!(Split::read(&dir).unwrap().train.len(), 400);
    // Equal names under different roots are different pictures.
    fixture.config.allow_overlap = false;
    if let Source::Table(files) = &mut fixture.config.source {
        files.test_root = Some("elsewhere".into());
    }
    Split::build(&fixture.config).unwrap();
    // One root spelled in two ways is one root, and the pictures in it are the same.
    let spelled = fixture.path("pool/..");
    fs_err::create_dir(fixture.path("pool")).unwrap();
    if let Source::Table(files) = &mut fixture.config.source {
        files.test_root = Some(spelled);
    }
    let error = fixture.error();
    assert!(error.contains("2 images"), "{error}");
    let absolute = fixture.path("pool/001.jpg");
    write_text(
        &fixture.path("test.csv"),
        &format!(
            "image,labels\n./pool/002.jpg,cat\n{},cat\n",
            absolute.display()
        ),
    )
    .unwrap();
    let error = fixture.error();
    assert!(
        error.contains("2 images") && error.contains("`pool/001.jpg` = `/"),
        "{error}"
    );
    // Twice in one set, possibly with different labels.
    let test = "image,labels\ntest/1.jpg,cat\ntest/x/../1.jpg,dog\n";
    write_text(&fixture.path("test.csv"), test).unwrap();
    let error = fixture.error();
    assert!(
        error.contains("twice in the test set: `test/1.jpg` = `test/x/../1.jpg`"),
        "{error}"
    );
}

#[test]
fn a_released_list_is_taken_in_its_order() {
    let mut fixture = Fixture::new();
    let file = fixture.path("ids.txt");
    fixture.config.distribution = Distribution::Ids { file: file.clone() };
    write_text(&file, "041\r\npool/003.jpg\n\n008\n281\n").unwrap();
    let split = Split::build(&fixture.config).unwrap();
    assert_eq!(
        split.train.images(),
        [
            "pool/041.jpg",
            "pool/003.jpg",
            "pool/008.jpg",
            "pool/281.jpg"
        ]
    );
    // A folder or extension that no image has is not ignored.
    for id in ["val/003.jpg", "003.png", "pool/x/003", "003.jpg.jpg"] {
        write_text(&file, &format!("041\n{id}\n")).unwrap();
        let error = fixture.error();
        assert!(error.contains(&format!("line 2): `{id}`")), "{error}");
    }
    for id in [
        "pool\\003.jpg",
        "./pool/003.jpg",
        "pool/003",
        "003.jpg",
        "003",
    ] {
        write_text(&file, id).unwrap();
        let split = Split::build(&fixture.config).unwrap();
        assert_eq!(split.train.images(), ["pool/003.jpg"]);
    }
    let ids: Vec<String> = (396..410).map(|i| i.to_string()).collect();
    write_text(&file, &ids.join("\n")).unwrap();
    let error = fixture.error();
    assert!(error.contains("10 ids"), "{error}");
    assert!(
        error.contains("`400`, `401`, `402`, `403`, `404`, ..."),
        "{error}"
    );
    write_text(&file, "003\n004\n003\n").unwrap();
    assert!(
        fixture
            .error()
            .contains("ids.txt:3: id `003` is already on line 1")
    );
    write_text(&file, "\n").unwrap();
    assert!(fixture.error().contains("names no images"));
}

#[test]
fn classes_without_images_are_refused_dropped_or_kept() {
    let mut fixture = Fixture::new();
    let classes = fixture.path("classes.txt");
    write_text(&classes, "person\nunicorn\ncow\ndog\ncat\n").unwrap();
    if let Source::Table(files) = &mut fixture.config.source {
        files.classes = Some(classes);
    }
    let error = fixture.error();
    assert!(error.contains("`unicorn`"), "{error}");
    fixture.config.empty_classes = EmptyClasses::Drop;
    let split = Split::build(&fixture.config).unwrap();
    assert_eq!(split.classes(), ["person", "cow", "dog", "cat"]);
    fixture.config.empty_classes = EmptyClasses::Keep;
    let split = Split::build(&fixture.config).unwrap();
    assert_eq!(split.classes().len(), 5);
    assert_eq!(
        (split.train.class_counts()[1], split.groups[1]),
        (0, Group::Tail)
    );
}

/// A pool without labels is rejected, and so are settings of a set that is not split off.
#[test]
fn settings_without_effect_and_pools_without_labels_are_refused() {
    let mut fixture = Fixture::new();
    fixture.config.test = 0.2;
    let error = fixture.error();
    assert!(
        error.starts_with("split.test: ") && error.contains("--test-part"),
        "{error}"
    );
    fixture.config.test = 0.0;
    write_text(
        &fixture.path("pool.csv"),
        "image,labels\na.jpg,\nb.jpg,nan\n",
    )
    .unwrap();
    let error = fixture.error();
    assert!(
        error.contains("has no label in any of its 2 images"),
        "{error}"
    );
}

#[test]
fn what_was_left_out_is_kept() {
    let fixture = Fixture::new();
    let pool =
        "image,labels\na.jpg,cat|dog\nb.jpg,nan\nc.jpg,Cat|dog|person|cow\nd.jpg,NaN\ne.jpg,nan\n";
    write_text(&fixture.path("pool.csv"), pool).unwrap();
    let dir = fixture.path("split");
    Split::build(&fixture.config)
        .unwrap()
        .write(&dir, false)
        .unwrap();
    let left_out = Split::read(&dir).unwrap().manifest.left_out;
    let facts: Vec<(usize, &str)> = left_out
        .iter()
        .map(|fact| (fact.count, fact.first[0].as_str()))
        .collect();
    assert_eq!(facts, [(2, "b.jpg"), (1, "d.jpg"), (1, "Cat` and `cat")]);
}

#[test]
fn wanted_counts_by_place_and_by_name() {
    let mut fixture = Fixture::new();
    fixture.config.distribution = Distribution::Counts {
        counts: vec![50, 20, 10],
    };
    assert!(
        fixture
            .error()
            .contains("3 numbers, but there are 4 classes")
    );
    let counts = |pairs: &[(&str, usize)]| Distribution::ClassCounts {
        counts: pairs
            .iter()
            .map(|&(name, n)| (name.to_owned(), n))
            .collect(),
    };
    fixture.config.distribution = counts(&[("cat", 1), ("horse", 2)]);
    assert!(fixture.error().contains("unknown classes: `horse`"));
    fixture.config.distribution = counts(&[("cat", 1), ("dog", 2), ("person", 3)]);
    assert!(fixture.error().contains("no count for `cow`"));
    let wanted = [("cat", 30), ("dog", 20), ("person", 60), ("cow", 500)];
    fixture.config.distribution = counts(&wanted);
    let split = Split::build(&fixture.config).unwrap();
    // All existing images, and no more.
    let cow = split.classes().iter().position(|c| c == "cow").unwrap();
    assert!(split.train.class_counts()[cow] <= 10);
    // The limits apply to every curve.
    fixture.config.max_per_class = Some(15);
    fixture.config.min_per_class = Some(12);
    let reference = fixture
        .config
        .reference_counts(4, &["cat", "dog", "person", "cow"]);
    assert_eq!(reference.unwrap().unwrap(), [15, 15, 15, 15]);
    fixture.config.min_per_class = Some(16);
    assert!(fixture.error().contains("max_per_class"));
}

#[test]
fn settings_out_of_range_are_named() {
    let refused = |change: &dyn Fn(&mut SplitConfig), key: &str| {
        let mut fixture = Fixture::new();
        change(&mut fixture.config);
        let error = fixture.error();
        assert!(error.starts_with(&format!("split.{key}")), "{error}");
    };
    refused(&|c| c.validation = -0.1, "validation");
    refused(&|c| c.validation = f64::NAN, "validation");
    refused(&|c| c.validation = 1.5, "validation");
    refused(&|c| c.validation = 1e6, "validation");
    refused(
        &|c| c.groups = GroupThresholds { head: 5, medium: 9 },
        "groups.head",
    );
    refused(
        &|c| {
            c.distribution = Distribution::AsIs {};
            c.keep_at_least = 3;
        },
        "distribution",
    );
    refused(
        &|c| {
            c.distribution = Distribution::Released {
                recipe: Preset::VocMlt,
            }
        },
        "distribution.recipe",
    );
}

#[test]
fn sets_are_held_out_of_the_pool() {
    let mut fixture = Fixture::new();
    if let Source::Table(files) = &mut fixture.config.source {
        files.test = None;
    }
    fixture.config.test = 100.0;
    fixture.config.validation = 50.0;
    fixture.config.validation_from = ValidationFrom::Rest;
    let split = Split::build(&fixture.config).unwrap();
    assert!(split.test.len().abs_diff(100) <= 3, "{}", split.test.len());
    let validation = split.validation.unwrap();
    assert!(validation.len().abs_diff(50) <= 3, "{}", validation.len());
    // A quarter of each class is in the test set.
    for (n, all) in split.test.class_counts().into_iter().zip([80, 10, 57, 200]) {
        assert!((n as f64 - all as f64 / 4.0).abs() <= 1.5, "{n} of {all}");
    }
    // The draw does not depend on the validation set if that is taken from the rest.
    fixture.config.validation = 0.0;
    assert_eq!(Split::build(&fixture.config).unwrap().train, split.train);
}

#[test]
fn roots_given_relative_move_with_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let base = fs_err::canonicalize(folder.path()).unwrap();
    assert_eq!(
        folder::relative(&base.join("splits/a"), &base.join("data/voc")),
        Path::new("../../data/voc")
    );
    assert_eq!(folder::relative(&base, &base), Path::new("."));
    assert_eq!(
        crate::data::picture_name::lexically_clean(Path::new("/a/./b/../c")),
        Path::new("/a/c")
    );
    // An absolute root is kept as it is.
    let fixture = Fixture::new();
    let dir = fixture.path("split");
    let split = Split::build(&fixture.config).unwrap();
    split.write(&dir, false).unwrap();
    let path = fixture.folder.path().to_path_buf();
    let root = ImageRoot::Folder { path };
    assert_eq!(Split::read(&dir).unwrap().train_root, root);
}

#[test]
fn missing_pictures_are_counted_and_named() {
    let fixture = Fixture::new();
    let split = Split::build(&fixture.config).unwrap();
    let picture = Rgb8::filled(4, 3, [1, 2, 3]).to_png().unwrap();
    let put = |image: &str| {
        let path = fixture.path(image);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, &picture).unwrap();
    };
    put("test/2.jpg");
    let check = split.check_pictures(&Set::ALL);
    assert_eq!(check.pictures, split.train.len() + 3);
    assert_eq!(check.missing, check.pictures - 1);
    assert_eq!(check.first.len(), 5);
    let first = &check.first[0];
    assert_eq!((first.set, first.line), (Set::Train, 2));
    let problem = check.problem().unwrap();
    assert!(
        problem.contains(&format!("{}` (train.csv:2)", split.train.image(0))),
        "{problem}"
    );
    let test = split.check_pictures(&[Set::Test]).first;
    assert_eq!(test.iter().map(|m| m.line).collect::<Vec<_>>(), [2, 4]);
    assert!(check.require_all("x").is_err());
    for image in split.train.images().iter().chain(split.test.images()) {
        put(image);
    }
    assert_eq!(split.check_pictures(&Set::ALL).problem(), None);

    // A file that exists but is not a picture is found too, and distinguished from a missing one.
    write_text(&fixture.path("test/2.jpg"), "<!DOCTYPE html>").unwrap();
    let check = split.check_pictures(&Set::ALL);
    assert_eq!((check.missing, check.unreadable), (0, 1));
    assert_eq!((check.first[0].set, check.first[0].line), (Set::Test, 3));
    let error = check.require_all("x").unwrap_err();
    let Error::Input(error) = error else {
        panic!("{error}")
    };
    assert!(
        error
            .problem
            .contains("(test.csv:3: the file is an HTML page"),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("--on-bad-image skip"));
    fs_err::remove_file(fixture.path("test/2.jpg")).unwrap();
    write_text(&fixture.path("test/1.jpg"), "x").unwrap();
    let problem = split.check_pictures(&Set::ALL).problem().unwrap();
    assert!(
        problem.contains("is missing") && problem.contains("cannot be read"),
        "{problem}"
    );
}

#[test]
fn a_file_without_a_distribution_takes_own_data_as_it_is() {
    let fixture = Fixture::new();
    let path = fixture.path("split.toml");
    let own = "[source]\nkind = 'csv'\ntrain = 'pool.csv'\n";
    for (text, expected) in [
        (own, Distribution::AsIs {}),
        ("[source]\nkind = 'shapes'\n", Distribution::default()),
        (
            &format!("{own}[distribution]\nkind = 'pareto'\n"),
            Distribution::Pareto(Pareto::default()),
        ),
    ] {
        write_text(&path, text).unwrap();
        assert_eq!(
            SplitConfig::read(&path).unwrap().distribution,
            expected,
            "{text}"
        );
        let nested = text.replace("[", "[split.");
        let usual = "name = 'e'\nloss.name = 'bce'\nsampler.kind = 'uniform'\n";
        write_text(&path, &format!("{usual}{nested}")).unwrap();
        let file = crate::config::ExperimentFile::read(&path, &[]).unwrap();
        let split = file.resolve(None, None).unwrap().split.unwrap();
        assert_eq!(split.distribution, expected, "{text}");
    }
}

#[test]
fn a_configuration_file_names_paths_from_where_it_is() {
    let fixture = Fixture::new();
    let path = fixture.path("split.toml");
    let text = "seed = 3\n[source]\nkind = \"csv\"\ntrain = \"pool.csv\"\ntest = \"test.csv\"\n\
                [distribution]\nkind = \"pareto\"\nmax = 100\n[groups]\nhead = 40\n";
    write_text(&path, text).unwrap();
    let config = SplitConfig::read(&path).unwrap();
    assert_eq!(
        config.groups,
        GroupThresholds {
            head: 40,
            medium: 20
        }
    );
    Split::build(&config).unwrap();
    // Unknown keys are rejected at every level, and the accepted ones are listed.
    for (from, to, line) in [
        ("seed", "sead", 1),
        ("train", "trian", 3),
        ("max", "maximum", 7),
        ("head", "haed", 9),
    ] {
        write_text(&path, &text.replacen(from, to, 1)).unwrap();
        let error = SplitConfig::read(&path).unwrap_err().to_string();
        assert!(
            error.contains(to) && error.contains("expected"),
            "{line}: {error}"
        );
    }
    write_text(&path, "[source]\nkind = \"coco2\"\n").unwrap();
    let error = SplitConfig::read(&path).unwrap_err().to_string();
    assert!(
        error.contains("coco2") && error.contains("labelme"),
        "{error}"
    );
}

/// Every source survives a round trip through TOML, in which split.toml stores it.
#[test]
fn sources_and_distributions_survive_toml() {
    let files = Folder {
        train: "a".into(),
        test: Some("b".into()),
        ..Folder::default()
    };
    let sources = [
        "kind = \"voc\"\nroot = \"d\"\ntest = \"test\"\ndifficult = \"ignore\"",
        "kind = \"lvis\"\ntrain = \"a.json\"\nroot = \"r\"",
        "kind = \"open-images\"\ntrain = \"a.csv\"\nmin_confidence = 1.0",
        "kind = \"labelme\"\ntrain = \"a\"",
        "kind = \"tsv\"\ntrain = \"a.tsv\"\nseparator = \", \"",
        "kind = \"coco\"\ntrain = \"a.json\"\nobjects = \"all\"",
        "kind = \"shapes\"\nseed = 4",
    ];
    let mut sources: Vec<Source> = sources.iter().map(|t| toml::from_str(t).unwrap()).collect();
    sources.push(Source::Folder(files));
    for source in sources {
        let mut config = SplitConfig::new(source);
        for distribution in [
            Distribution::AsIs {},
            Distribution::Released {
                recipe: Preset::CocoMlt,
            },
            Distribution::Exponential {
                max: 7,
                imbalance_factor: 2.5,
            },
            Distribution::Counts { counts: vec![3, 2] },
        ] {
            config.distribution = distribution;
            let text = toml::to_string(&config).unwrap();
            assert_eq!(
                toml::from_str::<SplitConfig>(&text).unwrap(),
                config,
                "{text}"
            );
        }
    }
}

#[test]
fn a_balanced_set_has_the_size_and_the_groups_of_the_one_whose_place_it_takes() {
    let mut fixture = Fixture::new();
    fixture.config.groups = GroupThresholds {
        head: 50,
        medium: 8,
    };
    for (validation, from) in [
        (0.0, ValidationFrom::Train),
        (0.2, ValidationFrom::Train),
        (10.0, ValidationFrom::Rest),
    ] {
        fixture.config.validation = validation;
        fixture.config.validation_from = from;
        fixture.config.balanced = false;
        let tailed = Split::build(&fixture.config).unwrap();
        fixture.config.balanced = true;
        let balanced = Split::build(&fixture.config).unwrap();
        assert_eq!(balanced.train.len(), tailed.train.len());
        assert_eq!(balanced.groups, tailed.groups);
        assert_eq!(balanced.test, tailed.test);
        assert_ne!(balanced.hash, tailed.hash);
        let least = |split: &Split| split.train.class_counts().into_iter().min().unwrap();
        assert!(least(&balanced) > least(&tailed), "{validation}");
        // Read back, and divided into folds.
        let dir = fixture.path(&format!("balanced-{validation}"));
        balanced.write(&dir, false).unwrap();
        assert_eq!(Split::read(&dir).unwrap(), balanced);
        for (i, fold) in balanced
            .folds(2, 0, &alone(&balanced))
            .unwrap()
            .iter()
            .enumerate()
        {
            assert_eq!(fold.groups, tailed.groups);
            let dir = fixture.path(&format!("fold-{validation}-{i}"));
            fold.read_or_write(&dir).unwrap();
            fold.read_or_write(&dir).unwrap();
        }
    }
    fixture.config.distribution = Distribution::AsIs {};
    let error = fixture.error();
    assert!(
        error.contains("split.balanced") && error.contains("no effect"),
        "{error}"
    );
}

/// Puts every training image into a group of its own.
fn alone(split: &Split) -> Vec<usize> {
    (0..split.train.len()).collect()
}

#[test]
fn pictures_that_belong_together_are_in_one_part() {
    let mut fixture = Fixture::new();
    fixture.config.keep_at_least = 1;
    let split = Split::build(&fixture.config).unwrap();
    let train = &split.train;
    // Every third image is the same picture as the one before it, and all cows are one picture.
    let mut together: Vec<usize> = (0..train.len())
        .map(|i| i - usize::from(i % 3 == 2))
        .collect();
    let cow = train
        .classes()
        .iter()
        .position(|name| name == "cow")
        .unwrap() as u32;
    let cows: Vec<usize> = (0..train.len())
        .filter(|&i| train.labels(i).contains(&cow))
        .collect();
    for &image in &cows {
        together[image] = cows[0];
    }
    let parted = |folds: &[Split]| {
        let is_parted = |fold: &Split| {
            let groups = |table: &LabelTable| -> std::collections::BTreeSet<usize> {
                let place = |name: &String| train.images().iter().position(|own| own == name);
                let images = table.images().iter().filter_map(place);
                images.map(|image| together[image]).collect()
            };
            !groups(&fold.train).is_disjoint(&groups(&fold.test))
        };
        folds.iter().filter(|fold| is_parted(fold)).count()
    };
    let apart = split.folds(3, 0, &alone(&split)).unwrap();
    assert!(parted(&apart) > 0, "else this tests nothing");
    let folds = split.folds(3, 0, &together).unwrap();
    assert_eq!(parted(&folds), 0);
    for fold in &folds {
        assert!(fold.train.class_counts().iter().all(|&n| n > 0));
    }
}
