//! Determines which file of `src` uses which names of which other files.
//!
//! Files are read as tokens, so that comments and strings are ignored while the contents of macros
//! count. A path is followed through re-exports to the file that defines the name. Code that is
//! compiled for tests only is left out. A `mod` declaration is not a use, and a re-export is one
//! only if the file itself also uses the name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The name of the library in the program's code.
const LIBRARY: &str = "dbloss";

/// For each file below `src`, the files that it uses and the names that it takes from them.
pub(crate) type Uses = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// Returns all Rust files below a folder.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Reads every file below `source`.
pub(crate) fn uses(source: &Path) -> Uses {
    let mut tree = Tree::default();
    tree.modules.push(Module::default());
    for file in rust_files(source) {
        let text = std::fs::read_to_string(&file).unwrap();
        let tokens: TokenStream = (text.parse()).unwrap_or_else(|e| panic!("{file:?}: {e}"));
        let relative = file.strip_prefix(source).unwrap();
        let module = tree.module_of(relative);
        tree.read(module, &tokens.into_iter().collect::<Vec<_>>());
    }
    let test_files = std::mem::take(&mut tree.test_files);
    let for_tests = |file: &Path| test_files.iter().any(|test| file.starts_with(test));
    let mut uses = Uses::new();
    for (index, module) in tree.modules.iter().enumerate() {
        if !for_tests(&module.file) {
            let of_file = uses.entry(module.file.clone()).or_default();
            tree.uses_of(index, of_file);
            // Code that uses a test file is itself test code, within an item that is not marked as
            // such.
            of_file.retain(|used, _| !for_tests(used));
        }
    }
    uses
}

/// Returns groups of files in which each file reaches all others.
pub(crate) fn circles(uses: &Uses) -> Vec<BTreeSet<&Path>> {
    let reached: BTreeMap<&Path, _> = (uses.keys())
        .map(|file| (file.as_path(), reached(uses, file)))
        .collect();
    let mut circles = Vec::new();
    for (file, seen) in &reached {
        let others = seen.iter().filter(|other| reached[**other].contains(file));
        let circle: BTreeSet<&Path> = others.copied().collect();
        if circle.first() == Some(file) {
            circles.push(circle);
        }
    }
    circles
}

/// Returns the files that a file uses, directly and indirectly.
fn reached<'a>(uses: &'a Uses, start: &Path) -> BTreeSet<&'a Path> {
    let targets = |file: &Path| uses.get(file).into_iter().flat_map(BTreeMap::keys);
    let mut seen = BTreeSet::new();
    let mut next: Vec<&Path> = targets(start).map(PathBuf::as_path).collect();
    while let Some(file) = next.pop() {
        if seen.insert(file) {
            next.extend(targets(file).map(PathBuf::as_path));
        }
    }
    seen
}

/// All modules; the first is the root of both the library and the program.
#[derive(Default)]
struct Tree {
    modules: Vec<Module>,
    /// Files and folders of modules that are compiled for tests only.
    test_files: BTreeSet<PathBuf>,
}

#[derive(Default)]
struct Module {
    file: PathBuf,
    parent: usize,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// Every path of two or more names in the code.
    paths: BTreeSet<Vec<String>>,
    /// Every single name in the code.
    names: BTreeSet<String>,
}

struct Import {
    path: Vec<String>,
    /// The name that it is bound to; `*` for all names of a module.
    name: String,
    exported: bool,
}

impl Tree {
    /// Returns the module of a file, creating it and its parents.
    fn module_of(&mut self, file: &Path) -> usize {
        let stem = file.with_extension("");
        let mut names: Vec<_> = stem.iter().map(|n| n.to_str().unwrap()).collect();
        match names.last() {
            Some(&"mod") => drop(names.pop()),
            Some(&"lib") if names.len() == 1 => drop(names.pop()),
            _ => {}
        }
        let module = names.iter().fold(0, |at, name| self.child(at, name));
        self.modules[module].file = file.into();
        module
    }

    fn child(&mut self, parent: usize, name: &str) -> usize {
        if let Some(&child) = self.modules[parent].children.get(name) {
            return child;
        }
        let child = self.modules.len();
        self.modules.push(Module {
            parent,
            ..Module::default()
        });
        self.modules[parent].children.insert(name.into(), child);
        child
    }

    /// Reads the tokens of a module, item by item.
    fn read(&mut self, module: usize, tokens: &[TokenTree]) {
        let mut at = 0;
        while at < tokens.len() {
            let start = at;
            while is_punct(tokens.get(at), '#') {
                at += if is_punct(tokens.get(at + 1), '!') {
                    3
                } else {
                    2
                };
            }
            let for_tests = tokens[start..at].iter().any(is_for_tests);
            let path = tokens[start..at].iter().find_map(path_attribute);
            let end = at + item_len(&tokens[at..]);
            self.item(module, &tokens[at..end], for_tests, path);
            at = end.max(start + 1);
        }
    }

    fn item(&mut self, module: usize, item: &[TokenTree], for_tests: bool, path: Option<String>) {
        let words: Vec<String> = item.iter().map_while(leading_word).collect();
        let word = |name: &str| words.iter().position(|w| w == name);
        if let (Some(place), false) = (word("mod"), item.is_empty()) {
            let name = &words[place + 1];
            match item.last() {
                Some(TokenTree::Group(body)) if !for_tests => {
                    let inner = self.child(module, name);
                    self.modules[inner].file = self.modules[module].file.clone();
                    self.read(inner, &body.stream().into_iter().collect::<Vec<_>>());
                }
                Some(TokenTree::Punct(_)) if for_tests => {
                    let file = &self.modules[module].file;
                    let folder = match file.file_stem().is_some_and(|stem| stem == "mod") {
                        true => file.parent().unwrap().into(),
                        false => file.with_extension(""),
                    };
                    let there = match path {
                        Some(path) => file.with_file_name(path),
                        None => folder.join(name).with_extension("rs"),
                    };
                    self.test_files.insert(there.with_extension(""));
                    self.test_files.insert(there);
                }
                _ => {}
            }
            return;
        }
        if for_tests {
            return;
        }
        let module = &mut self.modules[module];
        if word("use").is_some() {
            return module.import(item);
        }
        const KINDS: [&str; 8] = [
            "struct", "enum", "union", "trait", "type", "fn", "const", "static",
        ];
        // `const fn name`, `static mut NAME`: the last word names the item.
        if words.iter().any(|w| KINDS.contains(&w.as_str())) {
            module.items.extend(words.last().cloned());
        } else if words.first().is_some_and(|w| w == "macro_rules") {
            module
                .items
                .extend(item.iter().skip(2).find_map(leading_word));
        }
        module.scan(item);
    }

    fn uses_of(&self, index: usize, uses: &mut BTreeMap<PathBuf, BTreeSet<String>>) {
        let module = &self.modules[index];
        let imported = module.imports.iter().filter(|import| {
            // A name that is only re-exported is used by the files that take it from here.
            !import.exported || module.names.contains(&import.name) || import.name == "*"
        });
        let paths = imported.map(|import| (&import.path, import.name == "*"));
        let inside = module.paths.iter().map(|path| (path, false));
        for (path, whole) in paths.chain(inside) {
            let Some((target, name)) = self.resolve(index, path, &mut BTreeSet::new()) else {
                continue;
            };
            // Naming a module is not a use yet: the paths that start there are.
            let file = &self.modules[target].file;
            if *file != module.file && (name.is_some() || whole) {
                let name = name.unwrap_or("*").to_string();
                uses.entry(file.clone()).or_default().insert(name);
            }
        }
    }

    /// Returns the module and name that a path leads to; no name if it is the module itself.
    /// `tried` holds the modules and paths already visited: imports may be circular, and grow on
    /// the way.
    fn resolve<'a>(
        &self,
        from: usize,
        path: &'a [String],
        tried: &mut BTreeSet<(usize, Vec<String>)>,
    ) -> Option<(usize, Option<&'a str>)> {
        let (mut at, mut rest) = (from, path);
        while let Some((first, more)) = rest.split_first() {
            at = match first.as_str() {
                "self" => at,
                "super" => self.modules[at].parent,
                "crate" => 0,
                LIBRARY if at == from && rest.len() == path.len() => 0,
                _ => break,
            };
            rest = more;
        }
        const LONGEST: usize = 12;
        if rest.len() > LONGEST || !tried.insert((at, rest.to_vec())) {
            return None;
        }
        while let Some((first, more)) = rest.split_first() {
            let module = &self.modules[at];
            if let Some(&child) = module.children.get(first)
                && (!more.is_empty() || !module.items.contains(first))
            {
                (at, rest) = (child, more);
                continue;
            }
            if module.items.contains(first) {
                return Some((at, Some(first)));
            }
            let mut through = |import: &Import| {
                let tail = if import.name == "*" { rest } else { more };
                let path: Vec<String> = [&import.path[..], tail].concat();
                let (target, name) = self.resolve(at, &path, tried)?;
                // The name as written here, which lives as long as the path.
                let name = name.map(|_| rest.last().map_or("", String::as_str));
                Some((target, name))
            };
            let named = module.imports.iter().filter(|i| i.name == *first);
            let globs = module.imports.iter().filter(|i| i.name == "*");
            return named.chain(globs).find_map(&mut through);
        }
        Some((at, None))
    }
}

impl Module {
    fn import(&mut self, item: &[TokenTree]) {
        let exported = leading_word(&item[0]).is_some_and(|w| w == "pub");
        let start = item
            .iter()
            .position(|t| leading_word(t).is_some_and(|w| w == "use"));
        let tree = &item[start.unwrap() + 1..item.len() - 1];
        self.import_tree(tree, &[], exported);
    }

    fn import_tree(&mut self, tree: &[TokenTree], before: &[String], exported: bool) {
        for branch in tree.split(|token| is_punct(Some(token), ',')) {
            let mut path = before.to_vec();
            let mut name = None;
            let mut tokens = branch.iter();
            while let Some(token) = tokens.next() {
                match token {
                    TokenTree::Ident(ident) if *ident == "as" => {
                        name = tokens.next().map(ToString::to_string);
                    }
                    TokenTree::Ident(ident) if *ident == "self" && !path.is_empty() => {}
                    TokenTree::Ident(ident) => path.push(ident.to_string()),
                    TokenTree::Punct(star) if star.as_char() == '*' => name = Some("*".into()),
                    TokenTree::Group(group) => {
                        let inner: Vec<_> = group.stream().into_iter().collect();
                        self.import_tree(&inner, &path, exported);
                        path.clear();
                    }
                    _ => {}
                }
            }
            if let Some(last) = path.last().cloned() {
                let name = name.unwrap_or(last);
                self.imports.push(Import {
                    path,
                    name,
                    exported,
                });
            }
        }
    }

    /// Collects the paths and names in a piece of code.
    fn scan(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    self.scan(&inner);
                    at += 1;
                }
                TokenTree::Ident(ident) if *ident == "use" => {
                    let end = at + item_len(&tokens[at..]);
                    self.import(&tokens[at..end]);
                    at = end;
                }
                TokenTree::Ident(ident) => {
                    let mut path = vec![ident.to_string()];
                    at += 1;
                    while is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':') {
                        let Some(TokenTree::Ident(next)) = tokens.get(at + 2) else {
                            break;
                        };
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.names.insert(path[0].clone());
                    if path.len() > 1 {
                        self.paths.insert(path);
                    }
                }
                _ => at += 1,
            }
        }
    }
}

/// Returns the number of tokens of the first item.
fn item_len(tokens: &[TokenTree]) -> usize {
    let words: Vec<String> = tokens.iter().map_while(leading_word).collect();
    let is = |names: &[&str]| words.iter().any(|w| names.contains(&w.as_str()));
    // Values and imports contain braces; functions may be constant.
    let to_semicolon = is(&["use", "const", "static", "type"]) && !is(&["fn", "impl", "trait"]);
    let end = tokens.iter().position(|token| match token {
        TokenTree::Group(group) => !to_semicolon && group.delimiter() == Delimiter::Brace,
        token => is_punct(Some(token), ';'),
    });
    end.map_or(tokens.len(), |end| end + 1)
}

/// Returns a word among those with which an item begins: there are groups between them, such as
/// those of visibility.
fn leading_word(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            // `pub(super)`
            let inner = group.stream().to_string();
            let visibility =
                ["super", "crate"].contains(&inner.as_str()) || inner.starts_with("in ");
            visibility.then(String::new)
        }
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Returns whether an attribute is `cfg(test)` or similar.
fn is_for_tests(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else {
        return false;
    };
    let text = group.stream().to_string();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
    words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not")
}

/// Returns the file that a `path = "..."` attribute names.
fn path_attribute(token: &TokenTree) -> Option<String> {
    let TokenTree::Group(Group { .. }) = token else {
        return None;
    };
    let text = token.to_string();
    let rest = text
        .trim_start_matches('[')
        .trim_start()
        .strip_prefix("path")?;
    Some(rest.split('"').nth(1)?.to_string())
}
