//! A reader of Python pickles that executes nothing: calls in a pickle are only recorded, and only
//! those that make up PyTorch's tensors are interpreted.
//!
//! Values are stored in one list and refer to each other by index, so that no file can nest them
//! deeper than the stack allows. Lengths are never trusted: memory is only taken for bytes that the
//! file contains.

use std::collections::HashMap;
use std::io::BufRead;

/// The largest number of values in a pickle; a checkpoint with a long history of losses has some
/// 100,000.
const MAX_VALUES: usize = 4_000_000;
/// The largest number of bytes in a pickle.
const MAX_BYTES: u64 = 1 << 26;

/// The index of a value in [`Pickle::values`].
pub(super) type Id = usize;

/// A value in a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Anything that no weight file needs: bytes, floating-point numbers, sets, `None`.
    Other,
    Int(i64),
    Text(String),
    /// A tuple or a list.
    List(Vec<Id>),
    /// Keys and values in the order of the file.
    Dict(Vec<(Id, Id)>),
    /// A class or function by module and name.
    Global(String, String),
    /// The result of a call: the callee, its arguments, and the state that is set afterwards.
    Call {
        callee: Id,
        arguments: Id,
        state: Option<Id>,
    },
    /// An object stored outside the pickle; in PyTorch's files, a storage.
    Persistent(Id),
}

/// A parsed pickle.
#[derive(Debug, Default)]
pub(super) struct Pickle {
    pub values: Vec<Value>,
    pub root: Id,
}

impl Pickle {
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.values.get(id)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int(&self, id: Id) -> Option<i64> {
        match self.values.get(id)? {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    pub(super) fn list(&self, id: Id) -> Option<&[Id]> {
        match self.values.get(id)? {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the module and name of a class or function.
    pub(super) fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.values.get(id)? {
            Value::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }
}

/// Reads one pickle from the start of `input`. The error says what is wrong with it.
pub(super) fn read(input: &mut dyn BufRead) -> Result<Pickle, String> {
    let mut machine = Machine {
        input,
        read: 0,
        pickle: Pickle::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while machine.step()? {}
    Ok(machine.pickle)
}

/// Modules whose functions affect the machine that runs them. No weights need these.
const HARMFUL: [&str; 18] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "shutil",
    "socket",
    "pty",
    "runpy",
    "importlib",
    "ctypes",
    "webbrowser",
    "urllib",
    "requests",
    "http",
    "code",
    "marshal",
    "tempfile",
];
/// The same for Python's built-in functions.
const HARMFUL_BUILTINS: [&str; 8] = [
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "__import__",
    "breakpoint",
    "input",
];

fn check_global(module: &str, name: &str) -> Result<(), String> {
    let top = module.split('.').next().unwrap_or_default();
    let builtin = matches!(top, "builtins" | "__builtin__");
    if HARMFUL.contains(&top) || builtin && HARMFUL_BUILTINS.contains(&name) {
        return Err(format!(
            "the pickle would run `{module}.{name}` in Python, which weights do not need"
        ));
    }
    Ok(())
}

struct Machine<'a> {
    input: &'a mut dyn BufRead,
    read: u64,
    pickle: Pickle,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

const CUT: &str = "the pickle is cut off";

impl Machine<'_> {
    /// Reads and executes one opcode; returns false at the end.
    fn step(&mut self) -> Result<bool, String> {
        match self.byte()? {
            0x80 => drop(self.bytes::<1>()?), // PROTO
            0x95 => drop(self.bytes::<8>()?), // FRAME
            b'.' => {
                self.pickle.root = self.pop()?;
                return Ok(false);
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top, top]);
            }
            code @ (b'p' | b'q' | b'r' | 0x94) => self.remember(code)?,
            code @ (b'g' | b'h' | b'j') => {
                let key = self.memo_key(code)?;
                let id = *self
                    .memo
                    .get(&key)
                    .ok_or("the pickle refers to a value that does not exist")?;
                self.stack.push(id);
            }
            code @ (b'N' | 0x88 | 0x89 | b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b | b'F'
            | b'G') => self.number(code)?,
            code @ (b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96) => {
                self.text(code)?;
            }
            code => self.structure(code)?,
        }
        Ok(true)
    }

    fn number(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            0x88 => Value::Int(1),
            0x89 => Value::Int(0),
            b'I' | b'L' => {
                let line = self.line()?;
                let digits = line.trim().trim_end_matches('L');
                digits.parse().map_or(Value::Other, Value::Int)
            }
            b'J' => Value::Int(i32::from_le_bytes(self.bytes()?).into()),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.bytes()?).into()),
            0x8a | 0x8b => {
                let length = match code {
                    0x8a => u64::from(self.byte()?),
                    _ => u32::from_le_bytes(self.bytes()?).into(),
                };
                let bytes = self.sized(length)?;
                // Two's complement, little-endian; longer numbers cannot be sizes.
                match bytes.len() {
                    0 => Value::Int(0),
                    n @ 1..=8 => {
                        let mut wide = [if bytes[n - 1] & 0x80 == 0 { 0 } else { 0xFF }; 8];
                        wide[..n].copy_from_slice(&bytes);
                        Value::Int(i64::from_le_bytes(wide))
                    }
                    _ => Value::Other,
                }
            }
            b'F' => {
                self.line()?;
                Value::Other
            }
            b'G' => {
                self.bytes::<8>()?;
                Value::Other
            }
            _ => Value::Other,
        };
        self.push(value)
    }

    fn text(&mut self, code: u8) -> Result<(), String> {
        let bytes = match code {
            b'S' | b'V' => {
                let line = self.line()?;
                line.trim_matches(['\'', '"']).as_bytes().to_vec()
            }
            _ => {
                let length = match code {
                    b'U' | b'C' | 0x8c => u64::from(self.byte()?),
                    b'T' | b'X' | b'B' => u32::from_le_bytes(self.bytes()?).into(),
                    _ => u64::from_le_bytes(self.bytes()?),
                };
                self.sized(length)?
            }
        };
        // Python 2 wrote names as bytes.
        let value = match code {
            b'B' | b'C' | 0x8e | 0x96 => Value::Other,
            _ => String::from_utf8(bytes).map_or(Value::Other, Value::Text),
        };
        self.push(value)
    }

    fn structure(&mut self, code: u8) -> Result<(), String> {
        match code {
            b')' | b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x8f => self.push(Value::Other),
            b't' | b'l' => {
                let items = self.pop_mark()?;
                self.push(Value::List(items))
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let at = (self.stack.len().checked_sub(count)).ok_or(CUT)?;
                let items = self.stack.split_off(at);
                self.push(Value::List(items))
            }
            b'd' => {
                let pairs = pairs(&self.pop_mark()?);
                self.push(Value::Dict(pairs))
            }
            0x90 => self.pop_mark().map(drop),
            0x91 => {
                self.pop_mark()?;
                self.push(Value::Other)
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(&items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[(key, value)])
            }
            b'u' => {
                let pairs = pairs(&self.pop_mark()?);
                self.set(&pairs)
            }
            b'P' => {
                let name = self.line()?;
                let id = self.add(Value::Text(name))?;
                self.push(Value::Persistent(id))
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))
            }
            _ => self.call(code),
        }
    }

    fn call(&mut self, code: u8) -> Result<(), String> {
        match code {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| self.pickle.text(id).map(str::to_owned);
                match (text(module), text(name)) {
                    (Some(module), Some(name)) => self.push_global(module, name),
                    _ => Err("the pickle calls something without a name".into()),
                }
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                self.push_call(callee, arguments)
            }
            0x92 => {
                let (_, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.push_call(callee, arguments)
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let arguments = self.pop_mark()?;
                let arguments = self.add(Value::List(arguments))?;
                self.push_global(module, name)?;
                let callee = self.pop()?;
                self.push_call(callee, arguments)
            }
            b'o' => {
                let mut arguments = self.pop_mark()?.into_iter();
                let callee = arguments.next().ok_or(CUT)?;
                let arguments = self.add(Value::List(arguments.collect()))?;
                self.push_call(callee, arguments)
            }
            b'b' => {
                let new = self.pop()?;
                let object = *self.stack.last().ok_or(CUT)?;
                if let Some(Value::Call { state, .. }) = self.pickle.values.get_mut(object) {
                    *state = Some(new);
                }
                Ok(())
            }
            code => Err(format!(
                "byte {} of the pickle, 0x{code:02x}, is no instruction that is known",
                self.read
            )),
        }
    }

    fn push_global(&mut self, module: String, name: String) -> Result<(), String> {
        check_global(&module, &name)?;
        self.push(Value::Global(module, name))
    }

    fn push_call(&mut self, callee: Id, arguments: Id) -> Result<(), String> {
        // Dictionary classes are treated as plain dictionaries.
        if let Some(("collections", "OrderedDict" | "defaultdict" | "Counter")) =
            self.pickle.global(callee)
        {
            // Python 2 passed the pairs as an argument.
            let pairs = (self.pickle.list(arguments))
                .and_then(|arguments| self.pickle.list(*arguments.first()?))
                .map(|pairs| {
                    let pair = |id: &Id| match self.pickle.list(*id) {
                        Some([key, value]) => Some((*key, *value)),
                        _ => None,
                    };
                    pairs.iter().filter_map(pair).collect()
                });
            return self.push(Value::Dict(pairs.unwrap_or_default()));
        }
        self.push(Value::Call {
            callee,
            arguments,
            state: None,
        })
    }

    fn append(&mut self, items: &[Id]) -> Result<(), String> {
        let list = *self.stack.last().ok_or(CUT)?;
        if let Some(Value::List(list)) = self.pickle.values.get_mut(list) {
            list.extend(items);
        }
        Ok(())
    }

    fn set(&mut self, pairs: &[(Id, Id)]) -> Result<(), String> {
        let dict = *self.stack.last().ok_or(CUT)?;
        if let Some(Value::Dict(dict)) = self.pickle.values.get_mut(dict) {
            dict.extend(pairs);
        }
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Result<(), String> {
        let key = match code {
            0x94 => self.memo.len() as u64,
            b'p' => self.memo_key(b'g')?,
            b'q' => self.memo_key(b'h')?,
            _ => self.memo_key(b'j')?,
        };
        let top = *self.stack.last().ok_or(CUT)?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn memo_key(&mut self, code: u8) -> Result<u64, String> {
        Ok(match code {
            b'g' => (self.line()?.trim().parse()).map_err(|_| "the pickle is damaged")?,
            b'h' => self.byte()?.into(),
            _ => u32::from_le_bytes(self.bytes()?).into(),
        })
    }

    fn add(&mut self, value: Value) -> Result<Id, String> {
        if self.pickle.values.len() >= MAX_VALUES {
            return Err(format!("the pickle holds more than {MAX_VALUES} values"));
        }
        self.pickle.values.push(value);
        Ok(self.pickle.values.len() - 1)
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        let id = self.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        Ok(self.stack.pop().ok_or(CUT)?)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or(CUT)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn count(&mut self, bytes: u64) -> Result<(), String> {
        self.read += bytes;
        if self.read > MAX_BYTES {
            return Err(format!("the pickle is longer than {MAX_BYTES} bytes"));
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.bytes::<1>()?[0])
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.count(N as u64)?;
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|_| CUT)?;
        Ok(bytes)
    }

    /// Reads `length` bytes, without allocating more memory than the file has bytes.
    fn sized(&mut self, length: u64) -> Result<Vec<u8>, String> {
        self.count(length.min(MAX_BYTES + 1))?;
        let mut bytes = Vec::new();
        let mut part = std::io::Read::take(&mut *self.input, length);
        std::io::Read::read_to_end(&mut part, &mut bytes).map_err(|_| CUT)?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(CUT.into())
        }
    }

    /// Reads the rest of the line, as used by the oldest protocol.
    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let mut part = std::io::Read::take(&mut *self.input, 1 << 16);
        part.read_until(b'\n', &mut line).map_err(|_| CUT)?;
        if line.pop() != Some(b'\n') {
            return Err(CUT.into());
        }
        self.count(line.len() as u64 + 1)?;
        String::from_utf8(line).map_err(|_| "the pickle is damaged".into())
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    let (pairs, _) = items.as_chunks::<2>();
    pairs.iter().map(|&[key, value]| (key, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_from_the_first_to_the_fifth_are_read() {
        // {"a": (1, [2])} by `pickle.dumps(.., protocol=p)`.
        for bytes in [
            &b"(dp0\nVa\np1\n(I1\n(lp2\nI2\natp3\ns."[..],
            b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01]q\x02K\x02a\x86q\x03s.",
            b"\x80\x05\x95\x10\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01]\x94K\x02a\x86\x94s.",
        ] {
            let pickle = read(&mut &bytes[..]).unwrap();
            let Value::Dict(pairs) = &pickle.values[pickle.root] else {
                panic!("{pickle:?}");
            };
            let [(key, value)] = pairs[..] else {
                panic!("{pickle:?}");
            };
            assert_eq!(pickle.text(key), Some("a"));
            let [one, list] = *pickle.list(value).unwrap() else {
                panic!("{pickle:?}");
            };
            assert_eq!(pickle.int(one), Some(1));
            assert_eq!(pickle.int(pickle.list(list).unwrap()[0]), Some(2));
            for cut in 0..bytes.len() {
                assert!(read(&mut &bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn code_is_refused_by_name_and_lengths_are_not_trusted() {
        let problem = read(&mut &b"cposix\nsystem\n(S'true'\ntR."[..]).unwrap_err();
        assert!(problem.contains("`posix.system`"), "{problem}");
        let problem = read(&mut &b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."[..]).unwrap_err();
        assert!(problem.contains("`builtins.eval`"), "{problem}");
        // A string of 2^63 bytes, in a file of 12.
        let problem = read(&mut &b"\x80\x05\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab"[..]);
        assert!(problem.unwrap_err().contains("longer"));
        // Lists in lists in lists.
        let mut deep = vec![b']'; 300_000];
        deep.extend(vec![b'a'; 299_999]);
        deep.push(b'.');
        assert!(read(&mut &deep[..]).is_ok());
        let many = vec![b'N'; MAX_VALUES + 1];
        assert!(read(&mut &many[..]).unwrap_err().contains("values"));
    }
}
