//! A fingerprint of the contract, so that no edit changes it by accident.

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};

/// Hashes what matters on the wire: names, numbers, types, and how calls stream. Comments, options and the order of things
/// do not count, nor do google's own packages.
pub(crate) fn fingerprint(set: &FileDescriptorSet) -> u64 {
    let mut lines = Vec::new();
    for file in set.file.iter().filter(|file| !file.package().starts_with("google.")) {
        file.message_type.iter().for_each(|found| message(file.package(), found, &mut lines));
        file.enum_type.iter().for_each(|found| enumeration(file.package(), found, &mut lines));
        file.service.iter().for_each(|found| service(file.package(), found, &mut lines));
    }
    lines.sort();
    // FNV-1a, 64 bits.
    lines.join("\n").bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn message(scope: &str, found: &DescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{scope}.{}", found.name());
    lines.push(name.clone());
    for field in &found.field {
        let (kind, label) = (field.r#type(), field.label());
        lines.push(format!(
            "{name}.{} = {} {kind:?} {label:?} {}",
            field.name(),
            field.number(),
            field.type_name()
        ));
    }
    found.nested_type.iter().for_each(|nested| message(&name, nested, lines));
    found.enum_type.iter().for_each(|nested| enumeration(&name, nested, lines));
}

fn enumeration(scope: &str, found: &EnumDescriptorProto, lines: &mut Vec<String>) {
    for value in &found.value {
        lines.push(format!("{scope}.{}.{} = {}", found.name(), value.name(), value.number()));
    }
}

fn service(scope: &str, found: &ServiceDescriptorProto, lines: &mut Vec<String>) {
    for call in &found.method {
        let streams = (call.client_streaming(), call.server_streaming());
        let types = (call.input_type(), call.output_type());
        lines.push(format!("{scope}.{}/{} {types:?} {streams:?}", found.name(), call.name()));
    }
}
