//! The content and layout of a scene, which determine the labels.

use crate::rng::Stream;

/// The object classes, in index order (alphabetical).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Class {
    Ball,
    Balloon,
    Bicycle,
    Boat,
    Bus,
    Car,
    Cat,
    Chair,
    Clock,
    Dog,
    Fir,
    Flower,
    House,
    Kite,
    Mushroom,
    Person,
    Table,
    Taxi,
    Tree,
    Umbrella,
}

use Class::*;

impl Class {
    /// All classes, in index order.
    pub const ALL: [Class; 20] = [
        Ball, Balloon, Bicycle, Boat, Bus, Car, Cat, Chair, Clock, Dog, Fir, Flower, House, Kite,
        Mushroom, Person, Table, Taxi, Tree, Umbrella,
    ];

    /// Returns the name used in label tables.
    pub fn name(self) -> &'static str {
        match self {
            Ball => "ball",
            Balloon => "balloon",
            Bicycle => "bicycle",
            Boat => "boat",
            Bus => "bus",
            Car => "car",
            Cat => "cat",
            Chair => "chair",
            Clock => "clock",
            Dog => "dog",
            Fir => "fir",
            Flower => "flower",
            House => "house",
            Kite => "kite",
            Mushroom => "mushroom",
            Person => "person",
            Table => "table",
            Taxi => "taxi",
            Tree => "tree",
            Umbrella => "umbrella",
        }
    }

    /// Returns half the width and height of a medium-sized object, as fractions of the picture.
    fn extent(self) -> [f64; 2] {
        match self {
            Ball => [0.14, 0.14],
            Balloon => [0.14, 0.23],
            Bicycle => [0.24, 0.17],
            Boat => [0.20, 0.20],
            Bus => [0.27, 0.17],
            Car | Taxi => [0.24, 0.14],
            Cat => [0.17, 0.20],
            Chair => [0.13, 0.20],
            Clock => [0.15, 0.15],
            Dog => [0.22, 0.18],
            Fir => [0.15, 0.25],
            Flower => [0.15, 0.23],
            House => [0.21, 0.20],
            Kite => [0.18, 0.26],
            Mushroom => [0.18, 0.18],
            Person => [0.11, 0.25],
            Table => [0.23, 0.16],
            Tree => [0.17, 0.23],
            Umbrella => [0.21, 0.21],
        }
    }

    /// Returns the bounds of the centre's vertical position, 0 at the top.
    fn heights(self) -> [f64; 2] {
        match self {
            Balloon | Kite => [0.15, 0.65],
            Clock => [0.15, 0.55],
            Umbrella => [0.25, 0.75],
            Fir | Tree | House | Boat => [0.30, 0.75],
            _ => [0.42, 0.88],
        }
    }
}

/// The setting of a scene. It determines which classes are likely, and the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Theme {
    Street,
    Park,
    Room,
    Sea,
    Forest,
}

impl Theme {
    const WEIGHTS: [(Theme, f64); 5] = [
        (Theme::Street, 0.33),
        (Theme::Park, 0.25),
        (Theme::Room, 0.20),
        (Theme::Sea, 0.11),
        (Theme::Forest, 0.11),
    ];

    /// Returns the classes that may appear, with their probabilities.
    fn classes(self) -> &'static [(Class, f64)] {
        match self {
            Theme::Street => &[
                (Person, 0.62),
                (Car, 0.45),
                (House, 0.24),
                (Bus, 0.18),
                (Tree, 0.16),
                (Bicycle, 0.16),
                (Taxi, 0.13),
                (Dog, 0.08),
                (Umbrella, 0.07),
                (Clock, 0.06),
                (Cat, 0.04),
                (Balloon, 0.03),
            ],
            Theme::Park => &[
                (Person, 0.60),
                (Tree, 0.42),
                (Dog, 0.22),
                (Flower, 0.20),
                (Ball, 0.15),
                (Bicycle, 0.13),
                (Kite, 0.12),
                (Balloon, 0.12),
                (Fir, 0.08),
                (Umbrella, 0.05),
                (Mushroom, 0.04),
                (Chair, 0.04),
                (Cat, 0.03),
            ],
            Theme::Room => &[
                (Person, 0.48),
                (Chair, 0.42),
                (Table, 0.34),
                (Cat, 0.24),
                (Clock, 0.22),
                (Flower, 0.12),
                (Ball, 0.09),
                (Dog, 0.09),
                (Balloon, 0.05),
                (Umbrella, 0.04),
            ],
            Theme::Sea => &[
                (Person, 0.55),
                (Boat, 0.62),
                (Umbrella, 0.18),
                (Ball, 0.14),
                (Kite, 0.14),
                (House, 0.08),
                (Dog, 0.08),
                (Balloon, 0.05),
            ],
            Theme::Forest => &[
                (Fir, 0.58),
                (Person, 0.34),
                (Tree, 0.30),
                (Mushroom, 0.30),
                (Dog, 0.08),
                (House, 0.12),
                (Flower, 0.10),
                (Bicycle, 0.05),
            ],
        }
    }
}

/// Classes that bring along another: (class, companion, probability).
const COMPANIONS: [(Class, Class, f64); 6] = [
    (Table, Chair, 0.60),
    (Bicycle, Person, 0.75),
    (Umbrella, Person, 0.60),
    (Kite, Person, 0.60),
    (Taxi, Car, 0.35),
    (Bus, Car, 0.25),
];

/// An object of a scene. Lengths are fractions of the picture's side.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The class.
    pub class: Class,
    /// Centre, from the left and from the top.
    pub center: [f64; 2],
    /// Half the width and half the height.
    pub half: [f64; 2],
    /// Clockwise rotation in radians.
    pub angle: f64,
    /// Whether it is mirrored left and right.
    pub mirrored: bool,
}

impl Object {
    fn area(&self) -> f64 {
        4.0 * self.half[0] * self.half[1]
    }

    /// Returns the common area of the bounding boxes (ignoring rotation).
    fn overlap(&self, other: &Object) -> f64 {
        let side = |axis: usize| {
            let low =
                (self.center[axis] - self.half[axis]).max(other.center[axis] - other.half[axis]);
            let high =
                (self.center[axis] + self.half[axis]).min(other.center[axis] + other.half[axis]);
            (high - low).max(0.0)
        };
        side(0) * side(1)
    }

    /// Returns the fraction of the bounding box that is within the picture.
    fn inside(&self) -> f64 {
        let side = |axis: usize| {
            let low = (self.center[axis] - self.half[axis]).max(0.0);
            let high = (self.center[axis] + self.half[axis]).min(1.0);
            (high - low).max(0.0)
        };
        side(0) * side(1) / self.area()
    }
}

/// A scene: its objects, from the back to the front.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The setting.
    pub theme: Theme,
    /// The objects, from back to front.
    pub objects: Vec<Object>,
}

/// Maximum number of classes in a scene.
const MAX_CLASSES: usize = 5;
/// Maximum fraction of an object's box that another object may cover.
const MAX_COVERED: f64 = 0.3;
/// Minimum fraction of an object's box within the picture.
const LEAST_INSIDE: f64 = 0.7;

impl Scene {
    /// Lays out scene `index` of `set`.
    pub fn new(seed: u64, set: &str, index: u64) -> Self {
        let mut stream = Stream::new(seed, &format!("shapes/{set}/layout"), 0, index);
        let theme = draw_theme(&mut stream);
        let classes = draw_classes(theme, &mut stream);
        let mut objects: Vec<Object> = Vec::new();
        // One of each first, so that a crowded scene lacks second copies rather than classes.
        for &class in &classes {
            place(class, &mut objects, &mut stream);
        }
        for &class in &classes {
            let more = match class {
                Person | Chair | Flower | Fir | Mushroom => 0.25,
                _ => 0.1,
            };
            if objects.iter().any(|o| o.class == class) && stream.chance(more) {
                place(class, &mut objects, &mut stream);
            }
        }
        // Objects lower in the picture are nearer.
        objects.sort_by(|a, b| {
            let foot = |o: &Object| o.center[1] + o.half[1];
            foot(a).total_cmp(&foot(b))
        });
        Scene { theme, objects }
    }
}

fn draw_theme(stream: &mut Stream) -> Theme {
    let mut left = stream.uniform();
    for (theme, weight) in Theme::WEIGHTS {
        if left < weight {
            return theme;
        }
        left -= weight;
    }
    Theme::Street
}

fn draw_classes(theme: Theme, stream: &mut Stream) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    while classes.is_empty() {
        for &(class, probability) in theme.classes() {
            if stream.chance(probability) {
                classes.push(class);
            }
        }
    }
    for (class, companion, probability) in COMPANIONS {
        let brings = stream.chance(probability);
        if brings && classes.contains(&class) && !classes.contains(&companion) {
            classes.push(companion);
        }
    }
    stream.shuffle(&mut classes);
    classes.truncate(MAX_CLASSES);
    classes
}

/// Places an object where it neither hides another nor is hidden. If there is no room, it is made
/// smaller and finally left out (except for the first).
fn place(class: Class, objects: &mut Vec<Object>, stream: &mut Stream) {
    let [across, down] = class.extent();
    let [top, bottom] = class.heights();
    let mut scale = stream.range(0.95, 1.65);
    for attempt in 0..24 {
        if attempt % 6 == 5 {
            scale = (scale * 0.85).max(0.75);
        }
        let stretch = stream.range(0.85, 1.18);
        let object = Object {
            class,
            center: [stream.range(0.06, 0.94), stream.range(top, bottom)],
            half: [across * scale * stretch, down * scale / stretch],
            angle: 0.06 * stream.normal().clamp(-2.5, 2.5),
            mirrored: stream.chance(0.5),
        };
        let hidden = objects
            .iter()
            .any(|other| object.overlap(other) > MAX_COVERED * object.area().min(other.area()));
        if object.inside() >= LEAST_INSIDE && !hidden {
            objects.push(object);
            return;
        }
    }
    if objects.is_empty() {
        objects.push(Object {
            class,
            center: [0.5, 0.5 * (top + bottom)],
            half: [across * 0.8, down * 0.8],
            angle: 0.0,
            mirrored: false,
        });
    }
}
