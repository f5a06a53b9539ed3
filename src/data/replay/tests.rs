//! The replay compared with the released list.

use super::*;
use crate::data::formats::table;
use crate::data::real_data;

#[test]
#[ignore = "needs DBLOSS_DATA"]
fn replay_of_real_data_is_the_released_list_in_its_order() {
    let labels = real_data("labels/voc2012-trainval.csv");
    let ids = real_data("labels/voc-mlt-released-ids.txt");
    let pool = table::read(&labels, None).unwrap();
    let subset = voc_mlt(&pool).unwrap();
    let released = fs_err::read_to_string(ids).unwrap();
    let replayed: Vec<&str> = (subset.images.iter())
        .map(|&i| pool.image(i).trim_end_matches(".jpg"))
        .collect();
    assert_eq!(replayed, released.lines().collect::<Vec<_>>());
    // The published trace.
    let trace: Vec<_> = subset
        .steps
        .iter()
        .map(|s| (s.selected, s.wanted))
        .collect();
    assert_eq!(trace[..4], [(0, 800), (95, 529), (111, 359), (203, 248)]);
    let counts = pool.subset(&subset.images).class_counts();
    assert_eq!(
        counts,
        [
            6, 34, 8, 14, 154, 17, 249, 29, 479, 4, 240, 48, 11, 20, 775, 100, 5, 82, 7, 64
        ]
    );
    // The position in the stream of random numbers afterwards.
    let mut random = PythonRandom::new(0);
    let wanted = crate::data::split::Preset::VocMlt
        .pareto()
        .counts(20)
        .unwrap();
    draw(&pool, &wanted, &mut random).unwrap();
    let mut skipped = PythonRandom::new(0);
    for _ in 0..VOC_MLT_WORDS {
        skipped.next_u32();
    }
    assert_eq!(random.next_u32(), skipped.next_u32());
}

#[test]
fn other_pools_are_refused() {
    let mut pool = LabelTable::new(vec!["a".into()]);
    pool.push("x.jpg", [0]);
    assert!(voc_mlt(&pool).is_err());
    assert!(coco_mlt(&pool).is_err());
}
