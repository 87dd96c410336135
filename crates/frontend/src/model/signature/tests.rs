//! Declarations, right and wrong.

use super::*;

fn read(text: &str) -> Result<Signature, String> {
    Signature::read(&serde_yaml_ng::from_str(text).unwrap())
}

#[test]
fn a_declaration_names_tensors_and_a_platform() {
    let found = read(
        "platform: pytorch\ninputs:\n- {name: x, datatype: FP32, shape: [-1, 4]}\n\
         - {name: mask, datatype: BOOL, shape: [-1], optional: true}\n\
         outputs:\n- {name: y, datatype: BYTES, shape: []}\n",
    )
    .unwrap();
    assert_eq!(found.platform, "pytorch");
    let told: Vec<_> = found
        .inputs
        .iter()
        .map(|it| (&*it.name, it.optional))
        .collect();
    assert_eq!(told, [("x", false), ("mask", true)]);
    assert_eq!(found.outputs[0].datatype, Datatype::Bytes);
    assert_eq!(read("{}"), Ok(Signature::default()));
}

#[test]
fn a_wrong_declaration_says_what_is_wrong() {
    for (text, part) in [
        ("[]", "expected struct Signature"),
        ("input: []", "unknown field `input`"),
        (
            "inputs: [{name: x, shape: [1]}]",
            "missing field `datatype`",
        ),
        (
            "inputs: [{name: x, datatype: float, shape: [1]}]",
            "unknown variant `float`",
        ),
        (
            "inputs: [{name: x, datatype: FP32, shape: [-2]}]",
            "\"x\" has the dimension -2",
        ),
        (
            "inputs: [{name: '', datatype: FP32, shape: []}]",
            "a tensor has no name",
        ),
        (
            "outputs: [{name: y, datatype: FP32, shape: []}, {name: y, datatype: BOOL, shape: []}]",
            "\"y\" occurs twice",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn shapes_fit_where_lengths_agree_or_any_will_do() {
    let tensor = |shape: &[i64]| Tensor {
        name: "x".to_owned(),
        datatype: Datatype::Fp32,
        shape: shape.to_vec(),
        optional: false,
    };
    assert!(tensor(&[-1, 4]).fits(&[0, 4]));
    assert!(tensor(&[]).fits(&[]));
    for other in [&[3, 5][..], &[4], &[1, 3, 4]] {
        assert!(!tensor(&[-1, 4]).fits(other), "{other:?}");
    }
}

#[test]
fn datatypes_are_known_by_their_names() {
    for datatype in Datatype::ALL {
        assert_eq!(Datatype::from_name(datatype.name()), Some(datatype));
        assert_eq!(serde_json::to_value(datatype).unwrap(), datatype.name());
    }
}
