//! From the text of an add-on's file to an [`AddonRecipe`].

use std::str::FromStr;

use parbake_artifact::images::{ImageName, runtime_name};
use parbake_cluster::api::rollout::Workload;

use super::super::check;
use super::super::document::{At, Fields, whole};
use super::super::read::{Segment, Text, Word, plain, read_image_fields, read_modules};
use super::recipe::{AddonImage, AddonRecipe, Status};
use parbake_cluster::diagnostics::{Collector, Problems};

pub(super) fn recipe(text: &str) -> Result<AddonRecipe, Problems> {
    whole(text, read_recipe)
}

fn read_recipe(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<AddonRecipe> {
    // Everything is read before the first `?`, so that one bad field does not hide the others.
    let version = fields.parsed(problems, "version");
    let description = fields.parsed::<Text>(problems, "description");
    let status = fields.parsed::<StatusName>(problems, "status");
    let ready = fields.list::<Workload>(problems, "ready");
    let also = fields.list::<FullName>(problems, "also");
    let options = fields.map::<Segment, Word>(problems, "options").map(plain);
    let components = fields.map::<Segment, _>(problems, "components").map(plain);
    let modules = fields.tables::<Segment, _>(problems, "modules", read_modules);
    let images = fields.tables::<Segment, _>(problems, "images", read_image);
    fields.finish(problems);

    let (modules, images, components) = (modules?, images?, components?);
    check::modules(problems, &modules, &components);
    let made = images.iter().filter(|(_, (image, _))| !image.is_published());
    let recipes = made.map(|(name, (image, span))| {
        let copy = (image.recipe.clone(), span.clone());
        (Segment(name.0.clone()), copy)
    });
    check::binaries(problems, &[], &recipes.collect(), &modules);
    let mut values = Vec::new();
    values.extend(options?.into_iter().map(|(name, value)| (name, value.0)));
    Some(AddonRecipe {
        version: Some(version?.0),
        description: description?.0.0,
        status: status?.0.0,
        ready: ready?.into_iter().map(|(workload, _)| workload).collect(),
        also: also?.into_iter().map(|(name, _)| name.0).collect(),
        options: values.into_iter().collect(),
        components,
        modules: plain(modules),
        images: plain(images),
    })
}

fn read_image(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<At<AddonImage>> {
    let reference = fields.parsed::<FullName>(problems, "reference");
    let (recipe, span) = read_image_fields(problems, fields)?;
    let reference = reference?.0.0;
    Some((AddonImage { reference, recipe }, span))
}

struct StatusName(Status);

impl FromStr for StatusName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tested" => Ok(Self(Status::Tested)),
            "untested" => Ok(Self(Status::Untested)),
            _ => Err(format!(
                "`{text}` is no status; there are `tested` and `untested`"
            )),
        }
    }
}

/// The complete name of an image.
struct FullName(String);

impl FromStr for FullName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sound = text.parse::<ImageName>().is_ok();
        match runtime_name(text) {
            whole if sound && whole == text => Ok(Self(whole)),
            whole if sound => Err(format!("`{text}` is not complete; write `{whole}`")),
            _ => Err(format!("`{text}` is not the name of an image")),
        }
    }
}
