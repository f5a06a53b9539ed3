//! Weights initialised with one vector per class from a file, such as CLIP's text features, looked
//! up by the name of the class.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::Init;

use super::interface::{Accepts, HeadContext, Key, misfit};
use crate::data::npy;
use crate::error::{Error, KeyPath, Result};
use crate::model::builder::Builder;
use crate::model::parameters::Parameter;
use crate::range::Range;
use crate::text;

/// The key of the file.
pub(super) const INIT: Key = Key {
    name: "init",
    accepts: Accepts::Words(
        "the path of a `.csv` (one name and its numbers per row), a `.safetensors` (one vector per \
         name, or one matrix) or a `.npy` (one matrix); the names for a matrix are in a `.txt` \
         file of the same name, one per line",
    ),
    meaning: "One vector per class to start the weights from, such as CLIP's text features",
};

/// The key that freezes the weights.
pub(super) const FROZEN: Key = Key {
    name: "frozen",
    accepts: Accepts::Range(Range::Flag),
    meaning: "Whether the weights from `init` are frozen",
};

/// Rejects `frozen` without `init`.
pub(super) fn check(init: Option<&Path>, frozen: bool, at: &KeyPath) -> Result<()> {
    match frozen && init.is_none() {
        true => Err(Error::key(
            at.join("frozen"),
            "would freeze random weights, expected `false`",
        )
        .hint("name a file with `init` whose vectors are to be kept")),
        false => Ok(()),
    }
}

/// Creates `weight` [C, width] with random values or from the file `init`.
pub(super) fn weight(
    init: Option<&Path>,
    frozen: bool,
    drawn: Init,
    context: &HeadContext,
    builder: &Builder,
) -> Result<Parameter> {
    let builder = match frozen {
        true => builder.held(),
        false => builder.clone(),
    };
    let shape = [context.num_classes(), context.width];
    let weight = builder.parameter("weight", &shape, drawn)?;
    if let Some(path) = init.filter(|_| context.reads_files) {
        weight.fill(of_classes(path, context)?)?;
    }
    Ok(weight)
}

/// Returns the vectors of all classes, in the order of the classes.
fn of_classes(path: &Path, context: &HeadContext) -> Result<Vec<f32>> {
    let known = read(path)?;
    let key = "init";
    let mut values = Vec::with_capacity(context.num_classes() * context.width);
    let mut missing = Vec::new();
    for class in context.classes() {
        let Some(vector) = known.get(class) else {
            missing.push(class.as_str());
            continue;
        };
        if vector.len() != context.width {
            let problem = format!(
                "`{class}` has {} numbers, but what the head takes has {}",
                vector.len(),
                context.width
            );
            return Err(misfit(key, path, problem).hint(
                "features of text fit those of the same model's images, without a neck: \
                 `model.neck = { kind = \"none\" }`",
            ));
        }
        values.extend_from_slice(vector);
    }
    if !missing.is_empty() {
        let problem = format!("has no vector for the class `{}`", missing.join("`, `"));
        let error = misfit(key, path, problem);
        return Err(error.did_you_mean(missing[0], known.keys().map(String::as_str)));
    }
    let more = known.len() - context.num_classes();
    if more > 0 {
        tracing::info!(
            "{}: {more} vectors belong to no class of this split",
            path.display()
        );
    }
    if let Some(class) = (values.chunks(context.width).zip(context.classes()))
        .find_map(|(row, class)| row.iter().any(|v| !v.is_finite()).then_some(class))
    {
        return Err(misfit(
            key,
            path,
            format!("`{class}` has a number that is not finite"),
        ));
    }
    Ok(values)
}

/// Reads every vector of the file, by name.
fn read(path: &Path) -> Result<BTreeMap<String, Vec<f32>>> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    match ending.to_ascii_lowercase().as_str() {
        "csv" => of_table(path),
        "npy" => {
            let (shape, values) = npy::read(path)?;
            of_matrix(path, &Tensor::from_vec(values, shape, &Device::Cpu)?)
        }
        "safetensors" => {
            let tensors = crate::model::weights::read_tensors(path, &Device::Cpu)?;
            let mut matrices = tensors.values().filter(|tensor| tensor.rank() == 2);
            match (matrices.next(), tensors.len()) {
                (Some(matrix), 1) => of_matrix(path, matrix),
                (Some(_), _) => {
                    let problem = "contains a matrix among other tensors";
                    Err(Error::file(path, problem)
                        .hint("expected one matrix alone, or a vector under each class's name"))
                }
                (None, _) => (tensors.iter())
                    .map(|(name, vector)| Ok((name.clone(), numbers(vector)?)))
                    .collect(),
            }
        }
        _ => {
            let problem = "is not a file of vectors, expected one that ends in `.csv`, `.npy` or \
                `.safetensors`";
            Err(misfit("init", path, problem))
        }
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    let flat = tensor.to_dtype(DType::F32)?.flatten_all()?;
    Ok(flat.to_vec1()?)
}

/// Reads rows of a name and its numbers; a first row without numbers is a header.
fn of_table(path: &Path) -> Result<BTreeMap<String, Vec<f32>>> {
    let text = text::open(fs_err::File::open(path)?, path)?;
    let mut reader =
        (csv::ReaderBuilder::new().has_headers(false).flexible(true)).from_reader(text.all);
    let mut found = BTreeMap::new();
    for (number, record) in (1..).zip(reader.records()) {
        let record = record.map_err(|e| Error::line(path, number, e))?;
        let (name, cells) = (record.get(0).unwrap_or("").trim(), record.iter().skip(1));
        let values: Result<Vec<f32>, _> = cells.map(|cell| cell.trim().parse()).collect();
        match values {
            Ok(values) if !values.is_empty() => {
                if found.insert(name.to_owned(), values).is_some() {
                    let problem = format!("`{name}` occurs twice");
                    return Err(Error::line(path, number, problem));
                }
            }
            _ if number == 1 => {}
            _ => {
                let problem = format!("`{name}` is followed by something other than numbers");
                return Err(Error::line(path, number, problem));
            }
        }
    }
    Ok(found)
}

/// Reads the rows of a matrix, with names from the text file beside it.
fn of_matrix(path: &Path, matrix: &Tensor) -> Result<BTreeMap<String, Vec<f32>>> {
    let [rows, width] = matrix.dims() else {
        let problem = format!(
            "has the shape {:?}, expected [names, numbers]",
            matrix.dims()
        );
        return Err(Error::file(path, problem));
    };
    let beside = path.with_extension("txt");
    let text = text::read(&beside)?;
    let names: Vec<&str> = text::lines(&text)
        .map(|(_, line)| line.trim())
        .filter(|n| !n.is_empty())
        .collect();
    if names.len() != *rows {
        let problem = format!(
            "has {} names for the {rows} rows of the matrix",
            names.len()
        );
        return Err(Error::file(&beside, problem));
    }
    let values = numbers(matrix)?;
    let mut found = BTreeMap::new();
    for (name, row) in names.iter().zip(values.chunks((*width).max(1))) {
        if found.insert((*name).to_owned(), row.to_vec()).is_some() {
            return Err(Error::file(&beside, format_args!("`{name}` occurs twice")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::LabelTable;
    use std::collections::HashMap;

    fn of(path: &Path) -> Result<Vec<f32>> {
        let classes = ["cat", "tv monitor"].map(str::to_owned);
        let labels = LabelTable::new(classes.to_vec());
        let context = HeadContext {
            width: 3,
            labels: &labels,
            reads_files: true,
        };
        of_classes(path, &context)
    }

    const EXPECTED: [f32; 6] = [1., 2., 3., 4., 5., 6.];

    #[test]
    fn every_form_is_read_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let rows = [[7f32, 8., 9.], [4., 5., 6.], [1., 2., 3.]];
        let names = ["dog", "tv monitor", "cat"];

        let lines =
            |(name, row): (&str, [f32; 3])| format!("{name},{},{},{}\n", row[0], row[1], row[2]);
        let text: String = names.into_iter().zip(rows).map(lines).collect();
        fs_err::write(at("a.csv"), &text).unwrap();
        fs_err::write(at("b.csv"), format!("class,0,1,2\n{text}")).unwrap();
        let marked = "\u{feff}cat,1,2,3\ntv monitor,4,5,6\n";
        fs_err::write(at("g.csv"), marked).unwrap();
        for (file, dtype) in [("c.npy", DType::F32), ("d.npy", DType::F64)] {
            let matrix = Tensor::new(&rows, &Device::Cpu).unwrap();
            matrix.to_dtype(dtype).unwrap().write_npy(at(file)).unwrap();
        }
        let vectors: HashMap<String, Tensor> = (names.iter().zip(rows))
            .map(|(name, row)| ((*name).to_owned(), Tensor::new(&row, &Device::Cpu).unwrap()))
            .collect();
        candle_core::safetensors::save(&vectors, at("e.safetensors")).unwrap();
        let matrix = Tensor::new(&rows, &Device::Cpu).unwrap();
        let matrix = HashMap::from([("features", matrix)]);
        candle_core::safetensors::save(&matrix, at("f.safetensors")).unwrap();
        for beside in ["c.txt", "d.txt", "f.txt"] {
            fs_err::write(at(beside), names.join("\n")).unwrap();
        }
        for file in [
            "a.csv",
            "b.csv",
            "c.npy",
            "d.npy",
            "e.safetensors",
            "f.safetensors",
            "g.csv",
        ] {
            assert_eq!(of(&at(file)).unwrap(), EXPECTED, "{file}");
        }
        fs_err::write(at("f.txt"), "cat\ndog\n").unwrap();
        let error = of(&at("f.safetensors")).unwrap_err().to_string();
        assert!(error.contains("2 names for the 3 rows"), "{error}");
    }

    #[test]
    fn what_is_missing_or_does_not_fit_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, expected) in [
            (
                "a.csv",
                "cat,1,2,3\ntvmonitor,4,5,6\n",
                "no vector for the class `tv monitor`",
            ),
            ("a.csv", "cat,1,2\ntv monitor,4,5\n", "`cat` has 2 numbers"),
            ("a.csv", "cat,1,2,3\ncat,1,2,3\n", "`cat` occurs twice"),
            ("a.csv", "cat,1,2,3\ntv monitor,4,x,6\n", ":2: `tv monitor`"),
            ("a.csv", "cat,1,2,3\ntv monitor,4,nan,6\n", "not finite"),
            ("a.npz", "cat", "expected one that ends in"),
            ("a.npy", "cat", "a.npy"),
        ] {
            let path = folder.path().join(name);
            fs_err::write(&path, text).unwrap();
            let error = of(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
