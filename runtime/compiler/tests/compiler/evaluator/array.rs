//! Tensors of the evaluator: numbers that are found by their coordinates.

use crate::onnx::TensorProto;
use crate::onnx::tensor_proto::DataType;

/// What the numbers are; all are held as f64, which holds every integer below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Float,
    Double,
    Int,
    Bool,
}

impl Kind {
    pub fn of(data_type: i32) -> Kind {
        match DataType::try_from(data_type).unwrap() {
            DataType::Float => Kind::Float,
            DataType::Double => Kind::Double,
            DataType::Int32 | DataType::Int64 => Kind::Int,
            DataType::Bool => Kind::Bool,
            other => panic!("the evaluator does not know {other:?}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
    pub kind: Kind,
}

impl Array {
    /// An array of floats.
    pub fn new(shape: &[usize], data: Vec<f64>) -> Array {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Array { shape: shape.to_vec(), data, kind: Kind::Float }
    }

    /// The array whose number at every place is what `f` says of its coordinates.
    pub fn of(kind: Kind, shape: &[usize], f: impl FnMut(&[usize]) -> f64) -> Array {
        Array {
            shape: shape.to_vec(),
            data: coordinates(shape).iter().map(Vec::as_slice).map(f).collect(),
            kind,
        }
    }

    pub fn integers(values: &[i64]) -> Array {
        let data = values.iter().map(|v| *v as f64).collect();
        Array { shape: vec![values.len()], data, kind: Kind::Int }
    }

    pub fn from_proto(tensor: &TensorProto) -> Array {
        let shape: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
        let raw = |size: usize| tensor.raw_data().chunks_exact(size).map(<[u8]>::to_vec);
        let full = !tensor.raw_data().is_empty();
        let data = match DataType::try_from(tensor.data_type()).unwrap() {
            DataType::Float if full => {
                raw(4).map(|w| f64::from(f32::from_le_bytes(w.try_into().unwrap()))).collect()
            }
            DataType::Float => tensor.float_data.iter().map(|v| f64::from(*v)).collect(),
            DataType::Double if full => raw(8).map(|w| f64::from_le_bytes(w.try_into().unwrap())).collect(),
            DataType::Double => tensor.double_data.clone(),
            DataType::Int64 if full => {
                raw(8).map(|w| i64::from_le_bytes(w.try_into().unwrap()) as f64).collect()
            }
            DataType::Int64 => tensor.int64_data.iter().map(|v| *v as f64).collect(),
            DataType::Int32 if full => {
                raw(4).map(|w| f64::from(i32::from_le_bytes(w.try_into().unwrap()))).collect()
            }
            DataType::Bool if full => raw(1).map(|w| f64::from(w[0])).collect(),
            DataType::Int32 | DataType::Bool => tensor.int32_data.iter().map(|v| f64::from(*v)).collect(),
            other => panic!("the evaluator does not know {other:?}"),
        };
        Array { kind: Kind::of(tensor.data_type()), ..Array::new(&shape, data) }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number at coordinates that are aligned at the last axis; axes of extent 1 repeat.
    pub fn at(&self, coordinates: &[usize]) -> f64 {
        let skip = coordinates.len() - self.shape.len();
        let mut place = 0;
        for (extent, coordinate) in self.shape.iter().zip(&coordinates[skip..]) {
            assert!(coordinate < extent || *extent == 1, "{coordinates:?} is outside of {:?}", self.shape);
            place = place * extent + if *extent == 1 { 0 } else { *coordinate };
        }
        self.data[place]
    }

    /// As integers, which saturate at the ends of i64.
    pub fn ints(&self) -> Vec<i64> {
        self.data.iter().map(|v| *v as i64).collect()
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { data: self.data.iter().map(|v| f(*v)).collect(), ..self.clone() }
    }

    pub fn reshaped(&self, shape: &[usize]) -> Array {
        assert_eq!(shape.iter().product::<usize>(), self.data.len());
        Array { shape: shape.to_vec(), ..self.clone() }
    }

    /// An axis that may count from the back.
    pub fn axis(&self, axis: i64) -> usize {
        axis_of(axis, self.rank())
    }

    /// What the tensor holds once its numbers have their type.
    pub fn rounded(&self) -> Array {
        match self.kind {
            Kind::Float => self.map(|v| f64::from(v as f32)),
            _ => self.clone(),
        }
    }
}

pub fn axis_of(axis: i64, rank: usize) -> usize {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    assert!((0..=rank as i64).contains(&axis));
    axis as usize
}

/// All coordinates within a shape, the last axis fastest.
pub fn coordinates(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for extent in shape {
        let longer = |front: &Vec<usize>| {
            let front = front.clone();
            (0..*extent).map(move |i| [front.as_slice(), &[i]].concat())
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// The shape that several shapes broadcast to, as NumPy does it.
pub fn broadcast(arrays: &[&Array]) -> Vec<usize> {
    let rank = arrays.iter().map(|x| x.rank()).max().unwrap();
    let extent = |x: &Array, axis: usize| (axis + x.rank()).checked_sub(rank).map_or(1, |axis| x.shape[axis]);
    let mut shape = vec![];
    for axis in 0..rank {
        let extents: Vec<usize> = arrays.iter().map(|x| extent(x, axis)).filter(|e| *e != 1).collect();
        assert!(extents.windows(2).all(|pair| pair[0] == pair[1]), "shapes that do not broadcast");
        shape.push(extents.first().copied().unwrap_or(1));
    }
    shape
}
