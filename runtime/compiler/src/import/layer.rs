//! The layer of a network that an exporter made a node from, where the file has it.

use super::onnx::NodeProto;

/// The scopes from the outermost module on, as a Python list of strings, in exports of PyTorch's dynamo.
const SCOPES: &str = "pkg.torch.onnx.name_scopes";
/// The same as a path of `name: class`, in older ones.
const NAMESPACE: &str = "namespace";

/// The layer; `None` if the file does not tell.
pub(super) fn of(node: &NodeProto) -> Option<String> {
    let property = |key: &str| {
        let entry = node.metadata_props.iter().find(|entry| entry.key() == key)?;
        Some(entry.value())
    };
    let layer = match (property(SCOPES), property(NAMESPACE)) {
        // The last scope is the node's own, and each scope has the names of those around it.
        (Some(scopes), _) => {
            let scopes: Vec<&str> = scopes.split(['\'', '"']).skip(1).step_by(2).collect();
            scopes.len().checked_sub(2).map(|place| scopes[place])
        }
        (None, Some(path)) => path.rsplit('/').nth(1).and_then(|scope| scope.split(':').next()),
        // `/layer1/layer1.0/conv1/Conv` of PyTorch's TorchScript, `model/dense/MatMul` of tf2onnx.
        (None, None) => node.name().rsplit_once('/').map(|(path, _)| path),
    };
    let layer = layer?.trim().trim_start_matches('/');
    (!layer.is_empty()).then(|| layer.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::onnx::StringStringEntryProto;

    fn with(name: &str, properties: &[(&str, &str)]) -> Option<String> {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        let metadata_props = properties.iter().map(entry).collect();
        of(&NodeProto { name: Some(name.into()), metadata_props, ..NodeProto::default() })
    }

    #[test]
    fn the_layer_is_where_each_exporter_writes_it() {
        let scopes = "['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d']";
        assert_eq!(with("node_conv2d", &[(SCOPES, scopes)]).as_deref(), Some("layer1.0.conv1"));
        assert_eq!(with("node_relu", &[(SCOPES, "['', 'relu']")]), None);
        let path = ": torch.nn.modules.Net/conv1: torch.nn.Conv2d/conv2d: aten.conv2d.default";
        assert_eq!(with("node_conv2d", &[(NAMESPACE, path)]).as_deref(), Some("conv1"));
        assert_eq!(with("/layer1/layer1.0/conv1/Conv", &[]).as_deref(), Some("layer1/layer1.0/conv1"));
        assert_eq!(with("model/dense/MatMul", &[]).as_deref(), Some("model/dense"));
        for name in ["/Softmax", "Conv_12", ""] {
            assert_eq!(with(name, &[]), None, "{name}");
        }
    }
}
