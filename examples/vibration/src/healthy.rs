//! What a healthy bearing is like. Written by `train.py`; do not edit.
#![allow(clippy::excessive_precision, reason = "the digits that numpy gives")]
#![cfg_attr(rustfmt, rustfmt_skip)]

use dunlin_blocks::cluster::Centroids;
use dunlin_blocks::scale::Scaler;

use crate::BANDS;

/// The bands, in hertz.
pub(crate) const BANDS_HZ: [[f64; 2]; BANDS] = [
    [60.0, 350.0],
    [350.0, 750.0],
    [750.0, 1500.0],
    [1500.0, 2250.0],
    [2250.0, 3000.0],
    [3000.0, 3750.0],
    [3750.0, 4500.0],
    [4500.0, 6000.0],
];

/// Median and interquartile range of the levels, in dB.
pub(crate) const SCALER: Scaler<BANDS> = Scaler::robust(
    [-17.926882, -16.318287, -19.619978, -19.89428, -20.364498, -21.219198, -22.84265, -25.29453],
    [2.270345, 3.3643768, 1.2631639, 1.2210441, 1.2213289, 1.2404974, 1.2350221, 1.1425892],
);

/// Where scaled levels of healthy bearings lie.
pub(crate) const CENTROIDS: Centroids<4, BANDS> = Centroids {
    centres: [
        [-0.44861493, 0.27947226, 0.08545053, 0.062135227, 0.09547805, 0.14484413, 0.16766198, 0.169424],
        [0.6656354, -0.43971485, -0.14456704, -0.1408458, -0.08845055, -0.18360141, -0.27121753, -0.24316141],
        [-0.39859903, 0.005363338, -0.4533925, -0.50984496, -0.57448936, -0.51967824, -0.4541068, -0.552833],
        [0.41449296, 0.0917805, 0.5526026, 0.7022981, 0.5864767, 0.566527, 0.6307234, 0.65580904],
    ],
};

/// Mean and standard deviation of the distance to the nearest centroid.
pub(crate) const DISTANCE: [f32; 2] = [1.6485, 0.421];

/// Of the control chart: the weight of the newest distance.
pub(crate) const LAMBDA: f32 = 0.1;
/// And the limit, in standard deviations of the average.
pub(crate) const LIMIT: f32 = 5.8128;
