//! The objects, each drawn from a few forms in coordinates of -1 to 1.
//!
//! Colours are drawn at random around a preference that several classes share, so that colour alone
//! says little; what identifies a class is the outline, the texture and the arrangement of the
//! parts.

use super::canvas::{Canvas, Colour, Form, Frame, Paint, Pair, Texture};
use super::scene::{Class, Object};
use crate::rng::Stream;

/// Draws an object.
pub(super) fn draw(canvas: &mut Canvas, object: &Object, stream: &mut Stream) {
    let half = object.half.map(|v| v as f32);
    let frame = Frame {
        center: object.center.map(|v| v as f32),
        half: [if object.mirrored { -half[0] } else { half[0] }, half[1]],
        turn: [object.angle.cos() as f32, object.angle.sin() as f32],
    };
    let light = stream.range(0.0, 0.35) as f32;
    let mut pen = Pen {
        canvas,
        frame,
        light,
        stream,
    };
    match object.class {
        Class::Ball => ball(&mut pen),
        Class::Balloon => balloon(&mut pen),
        Class::Bicycle => bicycle(&mut pen),
        Class::Boat => boat(&mut pen),
        Class::Bus => bus(&mut pen),
        Class::Car => car(&mut pen, false),
        Class::Cat => cat(&mut pen),
        Class::Chair => chair(&mut pen),
        Class::Clock => clock(&mut pen),
        Class::Dog => dog(&mut pen),
        Class::Fir => fir(&mut pen),
        Class::Flower => flower(&mut pen),
        Class::House => house(&mut pen),
        Class::Kite => kite(&mut pen),
        Class::Mushroom => mushroom(&mut pen),
        Class::Person => person(&mut pen),
        Class::Table => table(&mut pen),
        Class::Taxi => car(&mut pen, true),
        Class::Tree => tree(&mut pen),
        Class::Umbrella => umbrella(&mut pen),
    }
}

/// Returns a random colour.
pub(super) fn any_colour(stream: &mut Stream) -> Colour {
    hsv(
        stream.uniform(),
        stream.range(0.1, 1.0),
        stream.range(0.2, 1.0),
    )
}

/// Converts hue, saturation and value, each 0 to 1, to red, green, blue.
fn hsv(hue: f64, saturation: f64, value: f64) -> Colour {
    [5.0, 3.0, 1.0].map(|offset: f64| {
        let k = (offset + hue * 6.0).rem_euclid(6.0);
        (value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))) as f32
    })
}

struct Pen<'a> {
    canvas: &'a mut Canvas,
    frame: Frame,
    light: f32,
    stream: &'a mut Stream,
}

impl Pen<'_> {
    fn draw(&mut self, form: Form, paint: Paint) {
        self.canvas.draw(&self.frame, form, &paint, self.light, 1.0);
    }

    fn fill(&mut self, form: Form, colour: Colour) {
        self.draw(form, Paint::plain(colour));
    }

    fn line(&mut self, a: Pair, b: Pair, half_width: f32, colour: Colour) {
        self.fill(Form::Line(a, b, half_width), colour);
    }

    fn range(&mut self, low: f64, high: f64) -> f32 {
        self.stream.range(low, high) as f32
    }

    /// Returns a colour near `hue` (0 to 1) with probability 0.9, otherwise any colour.
    fn leaning(&mut self, hue: f64, saturation: f64, value: f64) -> Colour {
        if !self.stream.chance(0.9) {
            return any_colour(self.stream);
        }
        let hue = hue + 0.03 * self.stream.normal();
        let saturation = saturation * self.stream.range(0.8, 1.2);
        let value = value * self.stream.range(0.75, 1.2);
        hsv(hue, saturation.min(1.0), value.min(1.0))
    }

    fn any(&mut self) -> Colour {
        any_colour(self.stream)
    }

    fn dark(&mut self) -> Colour {
        hsv(
            self.stream.uniform(),
            self.stream.range(0.0, 0.5),
            self.stream.range(0.05, 0.3),
        )
    }

    fn pale(&mut self) -> Colour {
        hsv(
            self.stream.uniform(),
            self.stream.range(0.0, 0.25),
            self.stream.range(0.75, 1.0),
        )
    }

    fn skin(&mut self) -> Colour {
        hsv(
            self.stream.range(0.03, 0.11),
            self.stream.range(0.3, 0.7),
            self.stream.range(0.3, 1.0),
        )
    }

    /// Returns a paint of this colour, sometimes with a texture in a second colour.
    fn cloth(&mut self, first: Colour) -> Paint {
        let second = self.any();
        let rate = self.range(2.0, 4.0);
        let texture = match self.stream.below(12) {
            0 => Texture::Stripes([1.0, 0.0], rate),
            1 => Texture::Stripes([0.0, 1.0], rate),
            2 => Texture::Dots(rate),
            3 => Texture::Checks(rate),
            _ => Texture::Plain,
        };
        Paint {
            first,
            second,
            texture,
        }
    }

    fn wheel(&mut self, center: Pair, radius: Pair, tyre: Colour, hub: Colour) {
        self.fill(Form::Ellipse(center, radius), tyre);
        self.fill(Form::Ellipse(center, radius.map(|r| r * 0.45)), hub);
    }
}

fn rectangle(low: Pair, high: Pair) -> [Pair; 4] {
    [low, [high[0], low[1]], high, [low[0], high[1]]]
}

fn ball(pen: &mut Pen) {
    let (first, second) = (pen.leaning(0.05, 0.9, 0.9), pen.pale());
    let direction = [pen.range(-1.0, 1.0), pen.range(-1.0, 1.0)];
    let texture = match pen.stream.below(3) {
        0 => Texture::Stripes(direction, 1.6),
        1 => Texture::Checks(1.5),
        _ => Texture::Dots(1.8),
    };
    let paint = Paint {
        first,
        second,
        texture,
    };
    pen.light += 0.3;
    pen.draw(Form::Ellipse([0.0, 0.0], [0.95, 0.95]), paint);
    let seam = pen.dark();
    pen.fill(Form::Ring([0.0, 0.0], [0.95, 0.95], 0.06), seam);
}

fn balloon(pen: &mut Pen) {
    let string = pen.dark();
    let sway = pen.range(-0.5, 0.5);
    pen.line([0.0, 0.25], [sway, 0.98], 0.05, string);
    let colour = pen.leaning(0.93, 0.7, 0.9);
    pen.light += 0.3;
    pen.fill(
        Form::Polygon(&[[0.0, 0.15], [0.2, 0.4], [-0.2, 0.4]]),
        colour,
    );
    pen.fill(Form::Ellipse([0.0, -0.38], [0.9, 0.6]), colour);
    let glint = pen.pale();
    pen.fill(Form::Ellipse([-0.35, -0.6], [0.18, 0.12]), glint);
}

fn bicycle(pen: &mut Pen) {
    let (tyre, frame) = (pen.dark(), pen.any());
    let radius = [0.4, 0.56];
    let (rear, front) = ([-0.56, 0.4], [0.56, 0.4]);
    for wheel in [rear, front] {
        pen.fill(Form::Ring(wheel, radius, 0.07), tyre);
        pen.fill(Form::Ellipse(wheel, [0.07, 0.09]), frame);
    }
    let (crank, saddle, fork) = ([-0.08, 0.42], [-0.25, -0.45], [0.38, -0.4]);
    let parts = [
        (rear, crank),
        (crank, saddle),
        (saddle, rear),
        (crank, fork),
        (saddle, fork),
        (fork, front),
    ];
    for (a, b) in parts {
        pen.line(a, b, 0.055, frame);
    }
    pen.line([-0.42, -0.58], [-0.1, -0.58], 0.08, tyre);
    pen.line(fork, [0.32, -0.75], 0.055, frame);
    pen.line([0.32, -0.75], [0.56, -0.8], 0.06, tyre);
}

fn boat(pen: &mut Pen) {
    let (hull, mast) = (pen.leaning(0.06, 0.6, 0.5), pen.dark());
    let sail = pen.pale();
    let sail = pen.cloth(sail);
    pen.line([0.0, 0.5], [0.0, -0.95], 0.05, mast);
    let reach = pen.range(0.55, 0.9);
    pen.draw(
        Form::Polygon(&[[0.08, -0.9], [0.08, 0.38], [reach, 0.38]]),
        sail,
    );
    if pen.stream.chance(0.6) {
        pen.draw(
            Form::Polygon(&[[-0.08, -0.7], [-0.08, 0.38], [-0.6, 0.38]]),
            sail,
        );
    }
    let keel = pen.range(0.5, 0.75);
    pen.fill(
        Form::Polygon(&[[-0.98, 0.48], [0.98, 0.48], [keel, 0.95], [-keel, 0.95]]),
        hull,
    );
}

fn bus(pen: &mut Pen) {
    let (body, glass, tyre, hub) = (
        pen.leaning(0.0, 0.8, 0.8),
        pen.pale(),
        pen.dark(),
        pen.any(),
    );
    pen.fill(
        Form::Polygon(&rectangle([-0.98, -0.92], [0.98, 0.66])),
        body,
    );
    let windows = 4 + pen.stream.below(3);
    let step = 1.8 / windows as f32;
    for i in 0..windows {
        let left = -0.9 + i as f32 * step;
        let pane = rectangle([left + 0.05, -0.7], [left + step - 0.05, -0.12]);
        pen.fill(Form::Polygon(&pane), glass);
    }
    let band = pen.any();
    pen.line([-0.9, 0.2], [0.9, 0.2], 0.06, band);
    for x in [-0.6, 0.6] {
        pen.wheel([x, 0.68], [0.17, 0.29], tyre, hub);
    }
}

fn car(pen: &mut Pen, taxi: bool) {
    let body = if taxi {
        pen.leaning(0.14, 0.9, 0.9)
    } else {
        pen.leaning(0.6, 0.7, 0.7)
    };
    let (glass, tyre, hub) = (pen.pale(), pen.dark(), pen.any());
    let slope = pen.range(0.1, 0.35);
    if taxi {
        let sign = pen.pale();
        pen.fill(Form::Polygon(&rectangle([-0.2, -0.98], [0.2, -0.72])), sign);
    }
    pen.fill(
        Form::Polygon(&[
            [-0.62, 0.0],
            [-0.62 + slope, -0.75],
            [0.58 - slope, -0.75],
            [0.58, 0.0],
        ]),
        body,
    );
    for (left, right) in [(-0.45 + slope * 0.6, -0.04), (0.06, 0.42 - slope * 0.6)] {
        pen.fill(
            Form::Polygon(&rectangle([left, -0.6], [right, -0.08])),
            glass,
        );
    }
    pen.fill(
        Form::Polygon(&rectangle([-0.97, -0.06], [0.97, 0.56])),
        body,
    );
    if taxi {
        let (first, second) = (pen.pale(), pen.dark());
        let paint = Paint {
            first,
            second,
            texture: Texture::Stripes([1.0, 0.0], 2.6),
        };
        pen.draw(
            Form::Polygon(&rectangle([-0.95, 0.02], [0.95, 0.26])),
            paint,
        );
    }
    for x in [-0.55, 0.55] {
        pen.wheel([x, 0.6], [0.2, 0.38], tyre, hub);
    }
}

/// Draws a head with eyes and muzzle, as used for cat and dog.
fn face(pen: &mut Pen, center: Pair, radius: Pair, fur: Colour) {
    pen.fill(Form::Ellipse(center, radius), fur);
    let dark = pen.dark();
    for side in [-1.0, 1.0] {
        let eye = [
            center[0] + side * radius[0] * 0.42,
            center[1] - radius[1] * 0.12,
        ];
        pen.fill(Form::Ellipse(eye, radius.map(|r| r * 0.17)), dark);
    }
    let nose = [center[0], center[1] + radius[1] * 0.35];
    pen.fill(Form::Ellipse(nose, radius.map(|r| r * 0.2)), dark);
}

fn fur(pen: &mut Pen) -> Paint {
    let first = pen.leaning(0.08, 0.5, 0.6);
    let second = pen.dark();
    let texture = match pen.stream.below(4) {
        0 => Texture::Stripes([1.0, 0.3], 2.5),
        1 => Texture::Dots(1.8),
        _ => Texture::Plain,
    };
    Paint {
        first,
        second,
        texture,
    }
}

fn cat(pen: &mut Pen) {
    let fur = fur(pen);
    // Sitting, with the tail curled up at its side.
    pen.line([0.35, 0.85], [0.85, 0.6], 0.09, fur.first);
    pen.line([0.85, 0.6], [0.8, 0.05], 0.09, fur.first);
    pen.draw(Form::Ellipse([0.0, 0.5], [0.52, 0.5]), fur);
    for side in [-1.0, 1.0] {
        let ear = [
            [side * 0.58, -0.98],
            [side * 0.6, -0.4],
            [side * 0.12, -0.65],
        ];
        pen.fill(Form::Polygon(&ear), fur.first);
    }
    face(pen, [0.0, -0.3], [0.58, 0.42], fur.first);
    let whisker = pen.pale();
    for side in [-1.0, 1.0] {
        pen.line([side * 0.2, -0.12], [side * 0.8, -0.2], 0.03, whisker);
    }
}

fn dog(pen: &mut Pen) {
    let fur = fur(pen);
    // Standing on four legs, with the head to one side.
    pen.line([-0.7, 0.05], [-0.95, -0.5], 0.08, fur.first);
    for x in [-0.6, -0.38, 0.1, 0.32] {
        pen.line([x, 0.3], [x, 0.92], 0.085, fur.first);
    }
    pen.draw(Form::Ellipse([-0.13, 0.2], [0.66, 0.36]), fur);
    let head = [0.55, -0.35];
    face(pen, head, [0.36, 0.42], fur.first);
    let ear = pen.dark();
    for side in [-1.0, 1.0] {
        let place = [head[0] + side * 0.34, head[1] - 0.02];
        pen.fill(Form::Ellipse(place, [0.12, 0.36]), ear);
    }
}

fn legs(pen: &mut Pen, at: &[f32], top: f32, colour: Colour) {
    for &x in at {
        pen.line([x, top], [x * 1.06, 0.95], 0.07, colour);
    }
}

fn chair(pen: &mut Pen) {
    let wood = pen.leaning(0.07, 0.6, 0.5);
    let seat = pen.any();
    let seat = pen.cloth(seat);
    legs(pen, &[-0.7, 0.7, -0.35, 0.45], 0.2, wood);
    for x in [-0.72, -0.3] {
        pen.line([x, 0.2], [x, -0.95], 0.08, wood);
    }
    pen.draw(
        Form::Polygon(&rectangle([-0.74, -0.92], [-0.28, -0.3])),
        seat,
    );
    pen.draw(
        Form::Polygon(&[[-0.8, 0.1], [0.6, 0.1], [0.85, 0.32], [-0.75, 0.32]]),
        seat,
    );
}

fn table(pen: &mut Pen) {
    let wood = pen.leaning(0.07, 0.6, 0.5);
    let inset = pen.range(0.5, 0.8);
    if pen.stream.chance(0.3) {
        // One leg in the middle, with a foot.
        pen.line([0.0, -0.5], [0.0, 0.9], 0.1, wood);
        pen.line([-0.4, 0.92], [0.4, 0.92], 0.07, wood);
    } else {
        legs(pen, &[-0.88, 0.88, -inset, inset], -0.5, wood);
    }
    let top = pen.cloth(wood);
    let edge = pen.range(0.7, 0.95);
    pen.draw(
        Form::Polygon(&[[-edge, -0.85], [edge, -0.85], [0.98, -0.45], [-0.98, -0.45]]),
        top,
    );
}

fn clock(pen: &mut Pen) {
    let (rim, face, hand) = (pen.leaning(0.1, 0.7, 0.6), pen.pale(), pen.dark());
    pen.fill(Form::Ellipse([0.0, 0.0], [0.96, 0.96]), rim);
    pen.fill(Form::Ellipse([0.0, 0.0], [0.76, 0.76]), face);
    for (x, y) in [(0.0, 0.62), (0.0, -0.62), (0.62, 0.0), (-0.62, 0.0)] {
        pen.fill(Form::Ellipse([x, y], [0.08, 0.08]), hand);
    }
    for (length, width) in [(0.36, 0.09), (0.56, 0.06)] {
        let angle = pen.range(0.0, std::f64::consts::TAU);
        let tip = [length * angle.cos(), length * angle.sin()];
        pen.line([0.0, 0.0], tip, width, hand);
    }
}

fn fir(pen: &mut Pen) {
    let (trunk, leaves) = (pen.leaning(0.07, 0.6, 0.4), pen.leaning(0.36, 0.6, 0.45));
    pen.fill(Form::Polygon(&rectangle([-0.12, 0.6], [0.12, 0.97])), trunk);
    let tiers = 3 + pen.stream.below(2);
    for i in 0..tiers {
        let part = i as f32 / (tiers - 1) as f32;
        let bottom = 0.7 - 1.05 * part;
        let width = 0.95 - 0.45 * part;
        pen.fill(
            Form::Polygon(&[[0.0, bottom - 0.72], [width, bottom], [-width, bottom]]),
            leaves,
        );
    }
}

fn tree(pen: &mut Pen) {
    let (trunk, leaves) = (pen.leaning(0.07, 0.6, 0.4), pen.leaning(0.32, 0.6, 0.5));
    pen.fill(
        Form::Polygon(&[[-0.1, -0.2], [0.1, -0.2], [0.17, 0.97], [-0.17, 0.97]]),
        trunk,
    );
    for center in [[-0.42, -0.2], [0.42, -0.2], [0.0, -0.5], [0.0, -0.1]] {
        let radius = [pen.range(0.4, 0.54), pen.range(0.32, 0.44)];
        pen.fill(Form::Ellipse(center, radius), leaves);
    }
}

fn flower(pen: &mut Pen) {
    let (stem, petal, heart) = (
        pen.leaning(0.32, 0.6, 0.5),
        pen.leaning(0.85, 0.6, 0.9),
        pen.leaning(0.14, 0.8, 0.9),
    );
    pen.line([0.0, -0.3], [0.05, 0.97], 0.07, stem);
    pen.fill(Form::Ellipse([0.38, 0.5], [0.36, 0.1]), stem);
    pen.fill(Form::Ellipse([-0.35, 0.66], [0.34, 0.1]), stem);
    let petals = 5 + pen.stream.below(3);
    let turn = pen.range(0.0, 1.0);
    for i in 0..petals {
        let angle = (i as f32 + turn) / petals as f32 * std::f32::consts::TAU;
        let center = [0.55 * angle.cos(), -0.45 + 0.33 * angle.sin()];
        pen.fill(Form::Ellipse(center, [0.33, 0.2]), petal);
    }
    pen.fill(Form::Ellipse([0.0, -0.45], [0.28, 0.17]), heart);
}

fn house(pen: &mut Pen) {
    let (wall, roof, door, glass) = (
        pen.pale(),
        pen.leaning(0.02, 0.7, 0.6),
        pen.dark(),
        pen.pale(),
    );
    let wall = pen.cloth(wall);
    pen.draw(Form::Polygon(&rectangle([-0.8, -0.15], [0.8, 0.96])), wall);
    let ridge = pen.range(0.0, 0.4);
    pen.fill(
        Form::Polygon(&[
            [-0.98, -0.12],
            [-ridge, -0.95],
            [ridge, -0.95],
            [0.98, -0.12],
        ]),
        roof,
    );
    pen.fill(
        Form::Polygon(&rectangle([-0.55, 0.32], [-0.15, 0.96])),
        door,
    );
    pen.fill(Form::Polygon(&rectangle([0.15, 0.15], [0.6, 0.58])), glass);
}

fn kite(pen: &mut Pen) {
    let first = pen.leaning(0.45, 0.8, 0.9);
    let (spar, tail) = (pen.dark(), pen.any());
    let corners = [[0.0, -0.97], [0.8, -0.35], [0.0, 0.4], [-0.8, -0.35]];
    let paint = pen.cloth(first);
    let bend = pen.range(-0.4, 0.4);
    pen.line([0.0, 0.38], [bend, 0.66], 0.05, spar);
    pen.line([bend, 0.66], [-0.2, 0.97], 0.05, spar);
    for p in [[bend * 0.6, 0.55], [bend, 0.72], [-0.1, 0.9]] {
        pen.line([p[0] - 0.22, p[1]], [p[0] + 0.22, p[1]], 0.05, tail);
    }
    pen.draw(Form::Polygon(&corners), paint);
    pen.line(corners[0], corners[2], 0.04, spar);
    pen.line(corners[1], corners[3], 0.04, spar);
}

fn mushroom(pen: &mut Pen) {
    let (stem, cap, dots) = (pen.pale(), pen.leaning(0.0, 0.8, 0.7), pen.pale());
    let foot = pen.range(0.26, 0.42);
    pen.fill(
        Form::Polygon(&[[-0.22, -0.1], [0.22, -0.1], [foot, 0.95], [-foot, 0.95]]),
        stem,
    );
    pen.fill(Form::Cap([0.0, 0.12], [0.95, 1.05]), cap);
    if pen.stream.chance(0.75) {
        for (center, radius) in [
            ([-0.45, -0.2], 0.15),
            ([0.05, -0.5], 0.18),
            ([0.5, -0.15], 0.13),
        ] {
            pen.fill(Form::Ellipse(center, [radius, radius]), dots);
        }
    }
}

fn umbrella(pen: &mut Pen) {
    let (stick, first, second) = (pen.dark(), pen.leaning(0.75, 0.7, 0.7), pen.any());
    pen.line([0.0, -0.9], [0.0, 0.8], 0.05, stick);
    pen.line([0.0, 0.85], [0.2, 0.9], 0.06, stick);
    pen.fill(Form::Cap([0.0, 0.02], [0.97, 0.95]), first);
    if pen.stream.chance(0.75) {
        // The panels between the ribs.
        pen.fill(Form::Cap([0.0, 0.02], [0.55, 0.95]), second);
        pen.fill(Form::Cap([0.0, 0.02], [0.2, 0.95]), first);
    }
    for x in [-0.6, 0.0, 0.6] {
        pen.line([0.0, -0.92], [x, 0.0], 0.02, stick);
    }
}

fn person(pen: &mut Pen) {
    let (skin, hair) = (pen.skin(), pen.dark());
    let (shirt, trousers) = (pen.any(), pen.any());
    let shirt = pen.cloth(shirt);
    let stride = pen.range(0.12, 0.5);
    for side in [-1.0, 1.0] {
        pen.line([side * 0.16, 0.2], [side * stride, 0.93], 0.13, trousers);
        let hand = [side * pen.range(0.5, 0.85), pen.range(-0.75, 0.25)];
        pen.line([side * 0.3, -0.42], hand, 0.1, shirt.first);
        pen.fill(Form::Ellipse(hand, [0.13, 0.06]), skin);
    }
    pen.draw(
        Form::Polygon(&[[-0.4, -0.5], [0.4, -0.5], [0.32, 0.3], [-0.32, 0.3]]),
        shirt,
    );
    pen.fill(Form::Ellipse([0.0, -0.73], [0.34, 0.22]), skin);
    pen.fill(Form::Cap([0.0, -0.76], [0.37, 0.22]), hair);
}
