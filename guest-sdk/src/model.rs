//! The declaration: [`model!`] and what it expands to.
//!
//! `macro_rules!` is enough, so guests build without a procedural macro and what it would pull in:
//! the views are structs with one field a tensor, the card is computed in constants, the exports are
//! the same few functions for every model.

/// Declares a model: its tensors, the card and the exports.
///
/// ```
/// use dunlin_guest::Failure;
///
/// /// Adds a constant to both channels.
/// pub struct Shift {
///     by: f32,
/// }
///
/// dunlin_guest::model! {
///     Shift = Shift { by: 0.5 };
///     state: none;
///     max_batch: 8;
///     inputs {
///         /// Left and right.
///         level: f32[n, 2], unit "V", range -1.0..=1.0;
///     }
///     outputs {
///         shifted: f32[n, 2], unit "V", labels ["left", "right"], meaning value;
///     }
/// }
///
/// impl Shift {
///     fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
///         for (level, shifted) in inputs.level.iter().zip(outputs.shifted) {
///             *shifted = level.map(|volt| volt + self.by);
///         }
///         Ok(())
///     }
/// }
/// # fn main() {
/// # let mut shifted = [[0.0; 2]];
/// # let (inputs, outputs) = (Inputs { level: &[[0.0, 1.0]] }, Outputs { shifted: &mut shifted });
/// # Shift { by: 0.5 }.infer(inputs, outputs).unwrap();
/// # assert_eq!(shifted, [[0.5, 1.5]]);
/// # }
/// ```
///
/// The parts, in this order:
///
/// - **The type and its initial value**, a constant: `Shift = Shift { by: 0.5 };`, or `Shift;` for a
///   unit struct. The type has a method `infer`, called once for every `dunlin_infer`.
/// - **`state`**: `none` calls `infer(&self, …)` on a constant, so that equal inputs give equal
///   outputs; `stream` calls `infer(&mut self, …)` on a static that lives from call to call until
///   `dunlin_reset` brings the initial value back.
/// - **`max_batch`**: the most samples of one call; 1 where `state` is `stream`.
/// - **`stack_bytes`**, optional: what the linker was told with `-zstack-size`; 16 KiB if left out, as the
///   `.cargo/config.toml` of every example says. `dunlin validate` tells where the two differ.
/// - **`init`**, optional: the name of a method `(&mut self) -> Result<(), Failure>` that prepares the model
///   once, for example tables that would make the module large; a failure refuses the instance. After
///   `dunlin_reset` it runs again on the initial value.
/// - **`inputs`** and **`outputs`**, each tensor `name: dtype[axes]`, then in this order and each
///   optional `unit "…"`, `range low..=high`, `labels ["…", …]` and `meaning logit | probability |
///   score | value | label`; then a semicolon. An axis is a number or a constant. The batch axis is
///   the word `n` in front, without which `max_batch` is 1.
///
/// What the method sees of a tensor, in the fields of `Inputs` (shared) and `Outputs` (mutable, all
/// zeros at the start of a call):
///
/// | declared | view |
/// |---|---|
/// | `f32[]` | `&f32` |
/// | `f32[3]` | `&[f32; 3]` |
/// | `f32[2, 3]` | `&[[f32; 3]; 2]` |
/// | `f32[n]` | `&[f32]`, as long as the batch |
/// | `f32[n, 3]` | `&[[f32; 3]]` |
/// | `bool[3]` | `&[u8; 3]`, each 0 or 1 |
/// | `f32[{8}, 3]`, outputs only | [`&mut Rows<[f32; 3], 8>`](crate::Rows): 0 to 8 rows, empty at the start |
///
/// An axis `{MAX}` depends on the data; it is the first of its output, and stands without `n`.
///
/// The type also gets the constant `CARD`, the JSON of the card. A declaration that breaks a rule of
/// the card does not compile. One module of Rust holds one declaration, one WebAssembly module too.
#[macro_export]
macro_rules! model {
    (
        $model:ident $(= $initial:expr)?;
        state: $state:ident;
        max_batch: $max_batch:expr;
        $(stack_bytes: $stack_bytes:expr;)?
        $(init: $init:ident;)?
        inputs { $(
            $(#[$input_meta:meta])*
            $input:ident: $input_type:ident [$($input_axis:tt),*]
                $(, unit $input_unit:literal)?
                $(, range $input_low:literal ..= $input_high:literal)?
                $(, labels [$($input_label:literal),+ $(,)?])?
                $(, meaning $input_meaning:ident)?;
        )+ }
        outputs { $(
            $(#[$output_meta:meta])*
            $output:ident: $output_type:ident [$($output_axis:tt),*]
                $(, unit $output_unit:literal)?
                $(, range $output_low:literal ..= $output_high:literal)?
                $(, labels [$($output_label:literal),+ $(,)?])?
                $(, meaning $output_meaning:ident)?;
        )+ }
    ) => {
        /// What the host wrote, one sample after the other.
        #[derive(Clone, Copy, Debug)]
        pub struct Inputs<'a> { $(
            $(#[$input_meta])*
            #[doc = ::core::concat!(
                "`", ::core::stringify!($input_type), ::core::stringify!([$($input_axis),*]), "`",
                $(", in ", $input_unit,)?
            )]
            pub $input: &'a $crate::model!(@view $input_type $($input_axis)*),
        )+ }

        /// What the host will read, all zeros at the start of a call.
        #[derive(Debug)]
        pub struct Outputs<'a> { $(
            $(#[$output_meta])*
            #[doc = ::core::concat!(
                "`", ::core::stringify!($output_type), ::core::stringify!([$($output_axis),*]), "`",
                $(", in ", $output_unit,)?
            )]
            pub $output: &'a mut $crate::model!(@view $output_type $($output_axis)*),
        )+ }

        impl $model {
            /// The card of the module: what it says of itself, in JSON.
            pub const CARD: &'static ::core::primitive::str = {
                const BYTES: [::core::primitive::u8; __dunlin::__CARD.json_len()] = __dunlin::__CARD.json();
                match ::core::str::from_utf8(&BYTES) {
                    ::core::result::Result::Ok(card) => card,
                    ::core::result::Result::Err(_) => ::core::panic!("the card is made of texts"),
                }
            };
        }

        #[doc(hidden)]
        mod __dunlin {
            #[allow(unused_imports, reason = "extents may be constants of the model's module")]
            use super::*;

            // Underscores, because these names hide those that the glob brings in.
            const __MAX_BATCH: ::core::primitive::usize = $max_batch;
            #[allow(dead_code, reason = "only the exports read it, but it is checked natively too")]
            pub(super) const __INITIAL: $model = $crate::model!(@or $model $(, $initial)?);

            pub(super) struct __InputRegions { $(
                pub(super) $input: $crate::rt::Region<$crate::model!(@region $input_type $($input_axis)*)>,
            )+ }

            pub(super) struct __OutputRegions { $(
                pub(super) $output: $crate::rt::Region<$crate::model!(@region $output_type $($output_axis)*)>,
            )+ }

            pub(super) const __CARD: $crate::rt::Card = $crate::rt::Card {
                inputs: &[$($crate::rt::Tensor {
                    name: ::core::stringify!($input),
                    dtype: $crate::rt::DType::named(::core::stringify!($input_type)),
                    batched: $crate::model!(@batched $($input_axis)*),
                    open: $crate::model!(@closed $($input_axis)*),
                    dims: $crate::model!(@dims $($input_axis)*),
                    unit: $crate::model!(@option $($input_unit)?),
                    range: $crate::model!(@range $($input_low, $input_high)?),
                    labels: &[$($($input_label),+)?],
                    meaning: $crate::model!(@option $(::core::stringify!($input_meaning))?),
                }),+],
                outputs: &[$($crate::rt::Tensor {
                    name: ::core::stringify!($output),
                    dtype: $crate::rt::DType::named(::core::stringify!($output_type)),
                    batched: $crate::model!(@batched $($output_axis)*),
                    open: $crate::model!(@open $($output_axis)*),
                    dims: $crate::model!(@dims $($output_axis)*),
                    unit: $crate::model!(@option $($output_unit)?),
                    range: $crate::model!(@range $($output_low, $output_high)?),
                    labels: &[$($($output_label),+)?],
                    meaning: $crate::model!(@option $(::core::stringify!($output_meaning))?),
                }),+],
                max_batch: __MAX_BATCH,
                state: $crate::model!(@state $state),
                stack_bytes: $crate::model!(@or $crate::rt::STACK_BYTES $(, $stack_bytes)?),
                arena_bytes: ::core::mem::size_of::<__InputRegions>()
                    + ::core::mem::size_of::<__OutputRegions>(),
            };
        }

        // Natively too, so that a wrong signature shows where tests run.
        const _: fn($crate::model!(@receiver $state $model), Inputs<'_>, Outputs<'_>)
            -> ::core::result::Result<(), $crate::Failure> = $model::infer;
        $(
            #[allow(dead_code, reason = "natively, tests call it where they want it")]
            const _: fn(&mut $model) -> ::core::result::Result<(), $crate::Failure> = $model::$init;
        )?

        // Without a name, so that no code of the guest can call an export while a call runs.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use __dunlin::{__CARD, __INITIAL, __InputRegions, __OutputRegions};

            #[unsafe(link_section = "dunlin.card")]
            static CARD_SECTION: [::core::primitive::u8; __CARD.json_len()] = __CARD.json();

            static INPUTS: __InputRegions = __InputRegions { $($input: $crate::rt::Region::new(),)+ };
            static OUTPUTS: __OutputRegions = __OutputRegions { $($output: $crate::rt::Region::new(),)+ };

            #[unsafe(no_mangle)]
            extern "C" fn dunlin_input(index: ::core::primitive::usize) -> *mut ::core::primitive::u8 {
                let addresses = [$(INPUTS.$input.address()),+];
                addresses.get(index).copied().unwrap_or(::core::ptr::null_mut())
            }

            #[unsafe(no_mangle)]
            extern "C" fn dunlin_output(index: ::core::primitive::usize) -> *mut ::core::primitive::u8 {
                let addresses = [$(OUTPUTS.$output.address()),+];
                addresses.get(index).copied().unwrap_or(::core::ptr::null_mut())
            }

            #[unsafe(no_mangle)]
            extern "C" fn dunlin_error() -> *const ::core::primitive::u8 {
                $crate::rt::message_address()
            }

            #[unsafe(no_mangle)]
            extern "C" fn dunlin_infer(n: ::core::primitive::usize) -> ::core::primitive::i32 {
                // SAFETY: one thread, and no call while a call runs; the host writes no input and
                // reads no output during a call, and these are the only references.
                let (inputs, outputs) = unsafe {
                    (
                        Inputs { $($input: $crate::model!(@lend INPUTS.$input, n, $($input_axis)*),)+ },
                        Outputs { $($output: $crate::model!(@lend_mut OUTPUTS.$output, n, $($output_axis)*),)+ },
                    )
                };
                $crate::rt::status($crate::model!(@call $state $model __INITIAL [$($init)?] (inputs, outputs)))
            }

            $crate::model!(@state_exports $state $model __INITIAL [$($init)?]);
            $crate::model!(@dim_export [$([$($output_axis)*])+] {
                #[unsafe(no_mangle)]
                extern "C" fn dunlin_dim(
                    output: ::core::primitive::usize,
                    axis: ::core::primitive::usize,
                ) -> ::core::primitive::usize {
                    // SAFETY: one thread, and no call while a call runs, so nobody writes.
                    let extents = unsafe { [$($crate::model!(@extent OUTPUTS.$output, $($output_axis)*)),+] };
                    if axis == 0 { extents.get(output).copied().unwrap_or(0) } else { 0 }
                }
            });
        };
    };

    // The type behind a view's reference: a slice of samples with the batch axis, else one sample.
    (@view $type:ident n $($axis:tt)*) => { [$crate::model!(@sample $type $($axis)*)] };
    (@view $type:ident {$max:expr} $($axis:tt)*) => { $crate::Rows<$crate::model!(@sample $type $($axis)*), {$max}> };
    (@view $type:ident $($axis:tt)*) => { $crate::model!(@sample $type $($axis)*) };

    // The type of a region: room for the greatest batch.
    (@region $type:ident n $($axis:tt)*) => { [$crate::model!(@sample $type $($axis)*); __MAX_BATCH] };
    (@region $type:ident {$max:expr} $($axis:tt)*) => { $crate::model!(@view $type {$max} $($axis)*) };
    (@region $type:ident $($axis:tt)*) => { $crate::model!(@sample $type $($axis)*) };

    // The type of one sample, nested row-major. The host may write any byte, so `bool` is `u8`.
    (@sample bool) => { ::core::primitive::u8 };
    (@sample $type:ident) => { $type };
    (@sample $type:ident $axis:tt $($rest:tt)*) => { [$crate::model!(@sample $type $($rest)*); $axis] };

    (@batched n $($axis:tt)*) => { true };
    (@batched $($axis:tt)*) => { false };
    (@dims n $($axis:tt)*) => { &[$($axis),*] };
    (@dims $($axis:tt)*) => { &[$($axis),*] };

    // Whether the first axis depends on the data; behind it, none does.
    (@open {$max:expr} $($axis:tt)*) => { !$crate::model!(@closed $($axis)*) };
    (@open $($axis:tt)*) => { $crate::model!(@closed $($axis)*) };
    (@closed) => { false };
    (@closed {$max:expr} $($axis:tt)*) => {
        ::core::compile_error!("an axis {MAX} is the first of an output, and stands without n")
    };
    (@closed $axis:tt $($rest:tt)*) => { $crate::model!(@closed $($rest)*) };

    (@option) => { ::core::option::Option::None };
    (@option $value:expr) => { ::core::option::Option::Some($value) };
    (@or $default:expr) => { $default };
    (@or $default:expr, $value:expr) => { $value };
    (@range) => { ::core::option::Option::None };
    (@range $low:literal, $high:literal) => {
        ::core::option::Option::Some($crate::rt::Range {
            low: ($low as ::core::primitive::f64, ::core::stringify!($low)),
            high: ($high as ::core::primitive::f64, ::core::stringify!($high)),
        })
    };

    (@lend $region:expr, $n:ident, n $($axis:tt)*) => { $crate::rt::samples($region.get(), $n) };
    (@lend $region:expr, $n:ident, $($axis:tt)*) => { $region.get() };
    (@lend_mut $region:expr, $n:ident, n $($axis:tt)*) => {{
        let samples = $crate::rt::samples_mut($region.get_mut(), $n);
        samples.fill($crate::rt::Plain::ZERO);
        samples
    }};
    (@lend_mut $region:expr, $n:ident, {$max:expr} $($axis:tt)*) => {{
        let rows = $region.get_mut();
        rows.clear();
        rows
    }};
    (@lend_mut $region:expr, $n:ident, $($axis:tt)*) => {{
        let sample = $region.get_mut();
        *sample = $crate::rt::Plain::ZERO;
        sample
    }};

    (@state none) => { $crate::rt::State::None };
    (@state stream) => { $crate::rt::State::Stream };
    (@state $other:ident) => { ::core::compile_error!("state is none or stream") };
    (@receiver none $model:ident) => { &$model };
    (@receiver stream $model:ident) => { &mut $model };

    // A model that is never changed is a constant; one that is prepared or remembers, a static.
    (@call none $model:ident $initial:ident [] ($($argument:ident),*)) => {{
        static MODEL: $model = $initial;
        MODEL.infer($($argument),*)
    }};
    (@call $state:ident $model:ident $initial:ident [$($init:ident)?] ($($argument:ident),*)) => {
        // SAFETY: one thread, and no call while a call runs, so this is the only reference.
        unsafe { MODEL.get_mut() }.infer($($argument),*)
    };
    (@state_exports none $model:ident $initial:ident []) => {};
    (@state_exports none $model:ident $initial:ident [$init:ident]) => {
        static MODEL: $crate::rt::Cell<$model> = $crate::rt::Cell::new($initial);
        $crate::model!(@init_export $init);
    };
    (@state_exports stream $model:ident $initial:ident [$($init:ident)?]) => {
        static MODEL: $crate::rt::Cell<$model> = $crate::rt::Cell::new($initial);
        $($crate::model!(@init_export $init);)?

        #[unsafe(no_mangle)]
        extern "C" fn dunlin_reset() {
            // SAFETY: one thread, and no call while a call runs, so this is the only reference.
            let model = unsafe { MODEL.get_mut() };
            *model = $initial;
            $($crate::rt::prepared_again(model.$init());)?
        }
    };
    (@init_export $init:ident) => {
        #[unsafe(no_mangle)]
        extern "C" fn dunlin_init() -> ::core::primitive::i32 {
            // SAFETY: one thread, and no call while a call runs, so this is the only reference.
            $crate::rt::status(unsafe { MODEL.get_mut() }.$init())
        }
    };

    // The export, if an output has an axis that depends on the data.
    (@dim_export [] {$($export:tt)*}) => {};
    (@dim_export [[{$max:expr} $($axis:tt)*] $($more:tt)*] {$($export:tt)*}) => { $($export)* };
    (@dim_export [[$($axis:tt)*] $($more:tt)*] {$($export:tt)*}) => {
        $crate::model!(@dim_export [$($more)*] {$($export)*});
    };
    (@extent $region:expr, {$max:expr} $($axis:tt)*) => { $region.get().len() };
    (@extent $region:expr, $($axis:tt)*) => { 0 };
}
