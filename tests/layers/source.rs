//! The sources of a crate as a graph of modules: what each one defines, imports and names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ImplItem, Item, ItemMod, ItemUse, Lit, Meta, TraitItem, UseTree, VisRestricted,
    Visibility,
    visit::{self, Visit},
};

/// How many re-exports may lead to one item.
const DETOURS: usize = 16;

/// A module's names from the crate's root on; the root's are none.
pub(crate) type ModulePath = Vec<String>;

/// A crate's modules. Modules inside of a file count to that file.
pub(crate) struct Sources(BTreeMap<ModulePath, Module>);

/// What one module says.
pub(crate) struct Module {
    /// Its file, from the crate's folder on.
    pub(crate) file: PathBuf,
    /// It is compiled for tests alone.
    pub(crate) is_test: bool,
    defined: BTreeSet<String>,
    imports: BTreeMap<String, Import>,
    /// What is imported by `::*`.
    globs: Vec<Import>,
    /// What is named outside of imports.
    named: Vec<Named>,
}

#[derive(Clone)]
struct Import {
    path: Vec<String>,
    is_public: bool,
    is_test: bool,
}

struct Named {
    path: Vec<String>,
    is_test: bool,
}

impl Sources {
    /// Reads a crate from its root (`src/lib.rs`) on, as the compiler does: by its `mod` lines.
    pub(crate) fn read(root: &Path) -> Self {
        let mut sources = Self(BTreeMap::new());
        let folder = root.parent().unwrap();
        sources.read_file(folder, root, &Vec::new(), false);
        sources
    }

    /// The modules, each with its path.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&ModulePath, &Module)> {
        self.0.iter()
    }

    fn read_file(&mut self, root: &Path, file: &Path, path: &ModulePath, is_test: bool) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.read_items(root, file, path, &parsed.items, is_test);
    }

    fn read_items(&mut self, root: &Path, file: &Path, path: &ModulePath, items: &[Item], is_test: bool) {
        let mut reader = Reader::new(is_test);
        for item in items {
            reader.visit_item(item);
        }
        let module = Module {
            file: file.strip_prefix(root).unwrap().to_owned(),
            is_test,
            defined: reader.defined,
            imports: reader.imports,
            globs: reader.globs,
            named: reader.named,
        };
        self.0.insert(path.clone(), module);
        for (child, in_test) in reader.modules {
            let mut inner = path.clone();
            inner.push(child.ident.to_string());
            match &child.content {
                // What a test looks at inside its subject's file is its own affair.
                Some(_) if in_test => {}
                Some((_, items)) => self.read_items(root, file, &inner, items, in_test),
                None => {
                    let file = file_of(file, &inner, child);
                    self.read_file(root, &file, &inner, in_test);
                }
            }
        }
    }

    /// What a module names, as paths from the crate's root on, and whether it does so for tests alone.
    pub(crate) fn absolute(&self, from: &ModulePath) -> Vec<(ModulePath, bool)> {
        let module = &self.0[from];
        let imports = module.imports.values().chain(&module.globs);
        let imports = imports.map(|import| (&import.path, import.is_test));
        let named = module.named.iter().map(|named| (&named.path, named.is_test));
        let absolute = |(path, is_test): (&Vec<String>, bool)| {
            let up = path.iter().take_while(|name| *name == "super").count();
            let rest = &path[up..];
            match path.first().map(String::as_str) {
                Some("crate") => Some((path[1..].to_vec(), is_test)),
                Some("super") => Some(([&from[..from.len().checked_sub(up)?], rest].concat(), is_test)),
                _ => None,
            }
        };
        imports.chain(named).filter_map(absolute).collect()
    }

    /// The modules whose items a module uses in production, each with the path by which it names them. A module that
    /// hands on what its own children define does not use it by that.
    pub(crate) fn used_by(&self, from: &ModulePath) -> Vec<(&ModulePath, String)> {
        let module = &self.0[from];
        let mut used = Vec::new();
        let imports = module.imports.values().chain(&module.globs);
        for import in imports.filter(|import| !import.is_test) {
            let target = self.resolve(from, &import.path, 0);
            let is_handed_on = |target: &&ModulePath| import.is_public && target.starts_with(from);
            if let Some(target) = target.filter(|target| !is_handed_on(target)) {
                used.push((target, import.path.join("::")));
            }
        }
        for named in module.named.iter().filter(|named| !named.is_test) {
            // One name alone is an item of the module's own, or one that was imported.
            let is_known = named.path.len() > 1 || module.imports.contains_key(&named.path[0]);
            if let Some(target) = self.resolve(from, &named.path, 0).filter(|_| is_known) {
                used.push((target, named.path.join("::")));
            }
        }
        used
    }

    /// The module that defines what `path` names in the module `from`; nothing for what comes from another crate.
    fn resolve(&self, from: &[String], path: &[String], detours: usize) -> Option<&ModulePath> {
        let (first, rest) = path.split_first()?;
        let parent = || from.split_last().map(|(_, parent)| parent);
        match first.as_str() {
            _ if detours > DETOURS => None,
            "crate" => self.walk(&[], rest, detours, true),
            "self" => self.walk(from, rest, detours, true),
            "super" if rest.first().is_some_and(|name| name == "super") => {
                self.resolve(parent()?, rest, detours)
            }
            "super" => self.walk(parent()?, rest, detours, true),
            _ => self.walk(from, path, detours, false),
        }
    }

    /// What `path` names inside of the module `at`. What is not to be seen there (a macro may make it) is taken for one
    /// of its items where it has to be one.
    fn walk(&self, at: &[String], path: &[String], detours: usize, has_to_be: bool) -> Option<&ModulePath> {
        let (at, module) = self.0.get_key_value(at)?;
        let Some((name, rest)) = path.split_first() else {
            return Some(at);
        };
        let child = [at.as_slice(), std::slice::from_ref(name)].concat();
        if self.0.contains_key(&child) {
            return self.walk(&child, rest, detours, true);
        }
        if let Some(import) = module.imports.get(name) {
            let path = [import.path.as_slice(), rest].concat();
            return self.resolve(at, &path, detours + 1);
        }
        if module.defined.contains(name) {
            return Some(at);
        }
        let mut globs = module.globs.iter();
        let by_glob = globs.find_map(|glob| {
            let target = self.resolve(at, &glob.path, detours + 1)?;
            let found = (target != at).then(|| self.walk(target, path, detours + 1, false));
            found.flatten()
        });
        by_glob.or(has_to_be.then_some(at))
    }
}

/// The file of a module that has one of its own.
fn file_of(parent: &Path, path: &[String], module: &ItemMod) -> PathBuf {
    let folder = parent.parent().unwrap();
    if let Some(given) = module.attrs.iter().find_map(given_path) {
        return folder.join(given);
    }
    let name = path.last().unwrap();
    let is_facade = ["mod.rs", "lib.rs"].iter().any(|facade| parent.ends_with(facade));
    let folder = if is_facade {
        folder.to_owned()
    } else {
        parent.with_extension("")
    };
    let plain = folder.join(format!("{name}.rs"));
    if plain.exists() {
        plain
    } else {
        folder.join(name).join("mod.rs")
    }
}

fn given_path(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(value) => match &value.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// True for what no production build compiles.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let mut names = Vec::new();
            idents(&list.tokens, &mut names);
            let has = |name: &str| names.iter().any(|known| known == name);
            (has("test") || has("fuzzing")) && !has("not")
        }
        meta => meta
            .path()
            .segments
            .last()
            .is_some_and(|name| name.ident == "test"),
    })
}

fn idents(tokens: &TokenStream, found: &mut Vec<String>) {
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) => found.push(ident.to_string()),
            TokenTree::Group(group) => idents(&group.stream(), found),
            _ => {}
        }
    }
}

/// The paths of two names and more among tokens that are not parsed: those of a macro or an attribute.
fn paths(tokens: &TokenStream, found: &mut Vec<Vec<String>>) {
    let (mut path, mut colons) = (Vec::<String>::new(), 0);
    let mut end = |path: &mut Vec<String>| {
        let ended = std::mem::take(path);
        if ended.len() > 1 {
            found.push(ended);
        }
    };
    let mut groups = Vec::new();
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    end(&mut path);
                }
                path.push(name.to_string());
                colons = 0;
                continue;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => {
                colons += 1;
                continue;
            }
            TokenTree::Group(group) => groups.push(group.stream()),
            _ => {}
        }
        end(&mut path);
        colons = 0;
    }
    end(&mut path);
    for group in groups {
        paths(&group, found);
    }
}

/// Collects what a module says, without its inner modules.
struct Reader<'a> {
    is_test: bool,
    defined: BTreeSet<String>,
    imports: BTreeMap<String, Import>,
    globs: Vec<Import>,
    named: Vec<Named>,
    modules: Vec<(&'a ItemMod, bool)>,
}

impl Reader<'_> {
    fn new(is_test: bool) -> Self {
        Self {
            is_test,
            defined: BTreeSet::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
            named: Vec::new(),
            modules: Vec::new(),
        }
    }

    fn import(&mut self, tree: &UseTree, path: &[String], is_public: bool) {
        let with = |name: &dyn ToString| [path, &[name.to_string()]].concat();
        let is_test = self.is_test;
        let import = |path| Import {
            path,
            is_public,
            is_test,
        };
        match tree {
            UseTree::Path(inner) => self.import(&inner.tree, &with(&inner.ident), is_public),
            UseTree::Group(group) => {
                for inner in &group.items {
                    self.import(inner, path, is_public);
                }
            }
            UseTree::Glob(_) => self.globs.push(import(path.to_vec())),
            UseTree::Name(name) if name.ident == "self" => {
                self.add_import(path.last().unwrap().clone(), import(path.to_vec()));
            }
            UseTree::Name(name) => self.add_import(name.ident.to_string(), import(with(&name.ident))),
            UseTree::Rename(renamed) => {
                let path = if renamed.ident == "self" {
                    path.to_vec()
                } else {
                    with(&renamed.ident)
                };
                let name = match renamed.rename.to_string() {
                    // A trait that is wanted for its methods: under a name that nobody can write.
                    hidden if hidden == "_" => path.join("::"),
                    name => name,
                };
                self.add_import(name, import(path));
            }
        }
    }

    /// What production imports goes before what a test imports by the same name.
    fn add_import(&mut self, name: String, import: Import) {
        let known = self.imports.get(&name);
        if known.is_none_or(|known| known.is_test) {
            self.imports.insert(name, import);
        }
    }

    fn name(&mut self, path: Vec<String>) {
        let is_test = self.is_test;
        self.named.push(Named { path, is_test });
    }

    fn name_all(&mut self, tokens: &TokenStream) {
        let mut found = Vec::new();
        paths(tokens, &mut found);
        for path in found {
            self.name(path);
        }
    }

    /// Reads what these attributes are written before.
    fn under(&mut self, attributes: &[Attribute], read: impl FnOnce(&mut Self)) {
        let before = self.is_test;
        self.is_test |= is_for_tests(attributes);
        read(self);
        self.is_test = before;
    }
}

impl<'a> Visit<'a> for Reader<'a> {
    fn visit_item(&mut self, item: &'a Item) {
        if let Some(name) = name_of(item) {
            self.defined.insert(name);
        }
        self.under(attributes_of(item), |reader| match item {
            Item::Mod(module) => reader.modules.push((module, reader.is_test)),
            item => visit::visit_item(reader, item),
        });
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        let attributes = match item {
            ImplItem::Fn(function) => function.attrs.as_slice(),
            ImplItem::Const(constant) => &constant.attrs,
            _ => &[],
        };
        self.under(attributes, |reader| visit::visit_impl_item(reader, item));
    }

    fn visit_trait_item(&mut self, item: &'a TraitItem) {
        let attributes = match item {
            TraitItem::Fn(function) => function.attrs.as_slice(),
            _ => &[],
        };
        self.under(attributes, |reader| visit::visit_trait_item(reader, item));
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let is_public = !matches!(item.vis, Visibility::Inherited);
        self.import(&item.tree, &[], is_public);
    }

    fn visit_vis_restricted(&mut self, _: &'a VisRestricted) {
        // Who may see something is no use of it.
    }

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        match &attribute.meta {
            Meta::List(list) => self.name_all(&list.tokens),
            Meta::NameValue(pair) => self.visit_expr(&pair.value),
            Meta::Path(_) => {}
        }
    }

    fn visit_macro(&mut self, mac: &'a syn::Macro) {
        self.visit_path(&mac.path);
        self.name_all(&mac.tokens);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string());
        if path.leading_colon.is_none() {
            self.name(names.collect());
        }
        visit::visit_path(self, path);
    }
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
