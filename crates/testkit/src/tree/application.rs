//! The application of a tree: `index.js` and a `node_modules` that it requires.
//!
//! Each package requires some of the packages before it, so nothing is circular, and a few of
//! its own files; the application requires every package and prints how many modules it loaded.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rand::RngExt;

use super::Random;
use super::content::{Content, comment_lines};
use super::plan::{Plan, Time};
use super::{names, sizes};

/// What npm gives every file it unpacks: 1985-10-26.
const NPM_TIME: Time = Time {
    seconds: 499_162_500,
    nanoseconds: 0,
};
const REQUIRED_SOURCES_MAX: usize = 4;

/// Plans an application of exactly `files` regular files.
pub(crate) fn plan(plan: &mut Plan, files: usize, random: &mut Random) {
    let mut application = Application {
        plan,
        left: files,
        packages: Vec::new(),
        random,
    };
    let mut taken = BTreeSet::new();
    // Two files are kept back for the application's own package.json and index.js.
    while application.left > 4 {
        let name = names::package(application.random, &mut taken);
        application.package(&name);
    }
    application.finish();
}

struct Application<'a> {
    plan: &'a mut Plan,
    /// Files still to be planned.
    left: usize,
    packages: Vec<String>,
    random: &'a mut Random,
}

impl Application<'_> {
    fn package(&mut self, name: &str) {
        let base = format!("node_modules/{name}");
        let time = self.package_time();
        let wanted = self.package_files();
        let dependencies = self.dependencies();
        self.script_file(&base, "package.json", &manifest(name, &dependencies), time);
        let sources = self.sources(&base, wanted.saturating_sub(2), time);
        let index = self.index(name, &dependencies, &sources);
        self.script_file(&base, "index.js", &index, time);
        if self.left > 2 && self.random.random_range(0..10) == 0 {
            self.command(name, &base, time);
        }
        self.packages.push(name.to_owned());
    }

    /// Most packages are small, some have hundreds of files.
    fn package_files(&mut self) -> usize {
        let wanted = match self.random.random_range(0..10) {
            0..6 => self.random.random_range(3..12),
            6..9 => self.random.random_range(12..50),
            _ => self.random.random_range(50..300),
        };
        wanted.min(self.left - 2)
    }

    /// One time for the whole package in most cases; `None` is a time for each file.
    fn package_time(&mut self) -> Option<Time> {
        match self.random.random_range(0..6) {
            0..3 => Some(NPM_TIME),
            3..5 => Some(self.plan.some_time()),
            _ => None,
        }
    }

    fn dependencies(&mut self) -> Vec<String> {
        let count = self.random.random_range(0..5).min(self.packages.len());
        let chosen: BTreeSet<_> = (0..count)
            .map(|_| self.random.random_range(0..self.packages.len()))
            .collect();
        chosen
            .into_iter()
            .map(|index| self.packages[index].clone())
            .collect()
    }

    /// Plans `count` files beside package.json and index.js; returns the scripts among them.
    fn sources(&mut self, base: &str, count: usize, time: Option<Time>) -> Vec<String> {
        let mut scripts = Vec::new();
        for number in 0..count {
            let bytes = sizes::sample(self.random);
            let stem = names::source(number / 3);
            let name = match (number, number % 3) {
                (0, _) => "README.md".to_owned(),
                (1, _) => "LICENSE".to_owned(),
                (_, 0) => format!("lib/{stem}.d.ts"),
                (_, 1) => format!("dist/{stem}.js.map"),
                _ => format!("lib/{stem}.js"),
            };
            if name.ends_with(".js") {
                let script = self.source(bytes);
                self.script_file(base, &name, &script, time);
                scripts.push(name);
            } else {
                self.text_file(base, &name, bytes, time);
            }
        }
        scripts
    }

    /// Returns a script of about `bytes` bytes.
    fn source(&mut self, bytes: usize) -> String {
        let number: u32 = self.random.random();
        let code = format!("'use strict';\nexports.number = {number};\n");
        let filler = comment_lines(self.random, bytes.saturating_sub(code.len() + 40));
        filler + &code
    }

    fn index(&mut self, name: &str, dependencies: &[String], sources: &[String]) -> String {
        let mut script = format!("'use strict';\nexports.name = '{name}';\nexports.loads = [\n");
        for dependency in dependencies {
            let _ = writeln!(script, "  require('{dependency}').name,");
        }
        for source in sources.iter().take(REQUIRED_SOURCES_MAX) {
            let _ = writeln!(script, "  require('./{source}').number,");
        }
        script.push_str("];\n");
        let wanted = sizes::sample(self.random).min(12_000);
        let filler = comment_lines(self.random, wanted.saturating_sub(script.len()));
        script + &filler
    }

    /// Gives the package an executable script and the link in `.bin` that npm makes for it.
    fn command(&mut self, name: &str, base: &str, time: Option<Time>) {
        let short = name.rsplit('/').next().unwrap_or(name);
        let script = "#!/usr/bin/env node\nconsole.log(require('../index.js').name);\n";
        self.insert(&format!("{base}/bin/cli.js"), script.into(), 0o755, time);
        let unique = if name.starts_with('@') {
            name.replace(['@', '/'], "")
        } else {
            short.into()
        };
        self.plan.symlink(
            format!("node_modules/.bin/{unique}"),
            format!("../{name}/bin/cli.js"),
        );
    }

    fn script_file(&mut self, base: &str, name: &str, text: &str, time: Option<Time>) {
        self.insert(&format!("{base}/{name}"), text.into(), 0o644, time);
    }

    fn text_file(&mut self, base: &str, name: &str, bytes: usize, time: Option<Time>) {
        // Licences repeat from package to package, as they do in life.
        let (seed, bytes) = if name == "LICENSE" {
            let licence = self.random.random_range(0..5_u64);
            (licence, 1_071 + licence * 17)
        } else {
            (self.random.random(), bytes as u64)
        };
        self.insert_content(
            &format!("{base}/{name}"),
            Content::Text { seed, bytes },
            0o644,
            time,
        );
    }

    fn insert(&mut self, path: &str, text: String, mode: u32, time: Option<Time>) {
        self.insert_content(path, Content::Bytes(text.into_bytes()), mode, time);
    }

    fn insert_content(&mut self, path: &str, content: Content, mode: u32, time: Option<Time>) {
        let mut entry = self.plan.file_entry(content).mode(mode);
        if let Some(time) = time {
            entry.attributes.modified = time;
        }
        self.plan.insert(path, entry);
        self.left -= 1;
    }

    fn finish(&mut self) {
        if self.left >= 2 {
            let manifest = manifest("application", &self.packages);
            self.insert("package.json", manifest, 0o644, None);
            let mut script = String::from("'use strict';\n");
            for package in &self.packages {
                let _ = writeln!(script, "require('{package}');");
            }
            script.push_str("console.log('modules', Object.keys(require.cache).length);\n");
            self.insert("index.js", script, 0o644, None);
        }
        let mut number = 0;
        while self.left > 0 {
            let bytes = sizes::sample(self.random);
            self.text_file("assets", &format!("asset-{number}.txt"), bytes, None);
            number += 1;
        }
    }
}

fn manifest(name: &str, dependencies: &[String]) -> String {
    let lines: Vec<_> = dependencies
        .iter()
        .map(|dependency| format!("    \"{dependency}\": \"^1.0.0\""))
        .collect();
    format!(
        "{{\n  \"name\": \"{name}\",\n  \"version\": \"1.0.0\",\n  \"main\": \"index.js\",\n  \
         \"dependencies\": {{\n{}\n  }}\n}}\n",
        lines.join(",\n")
    )
}
