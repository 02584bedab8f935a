//! Codes of running models.

super::codes! {
    STATUS = "model-status", Failed,
        "The model returned a status between 1 and 255: it refused the input for a reason of its own.",
        "Look the status up in the model's documentation.";
    STATUS_RESERVED = "model-status-reserved", Failed,
        "The model returned a status outside of 0 to 255, which no model may.",
        "Correct the model: 0 is done, 1 to 255 are its own.";
    DEADLINE = "model-deadline", Failed,
        "The model ran longer than its deadline and was stopped.",
        "Raise the deadline in the release, or make the model faster; `dunlin bench` tells its latency.";
    MEMORY = "model-memory", Failed,
        "The model asked for more memory than it may have, and could not go on without.",
        "Raise the memory limit in the release, or make the model smaller.";
    STACK = "model-stack", Failed,
        "The model used up its stack.",
        "Correct the recursion; the stack is the same on every device.";
    TRAP = "model-trap", Failed,
        "The model stopped with a trap.",
        "The message names the kind and the function; correct the model.";
    POISONED = "model-poisoned", Failed,
        "An earlier call of this instance trapped, so that its memory is not to be trusted.",
        "Instantiate the model again.";
    ENGINE = "model-engine", Failed,
        "The engine could not run the model, for a reason outside of the model's code.",
        "The message tells why, most often that the machine has no memory left.";
    POINTER = "model-pointer", Failed,
        "The model placed a tensor where none can be: unaligned, outside of its memory, or over another.",
        "Correct `dunlin_input` and `dunlin_output`: 16-byte aligned, inside memory, disjoint.";
    DIM = "model-dim", Failed,
        "The model reported an extent above the maximum that its card states.",
        "Correct `dunlin_dim`, or the card.";
    BATCH = "model-batch", Usage,
        "The number of samples is not one that this model, or its last call, has.",
        "Use 1 to `max_batch` of the card, and read no more samples than were computed.";
    TENSOR_INDEX = "model-tensor-index", Usage,
        "The model has no tensor of this index.",
        "Use the order of the card, counted from 0.";
    OUTPUT_NOT_FINITE = "model-output-not-finite", Failed,
        "The model computed NaN or an infinity where its contract asks for finite numbers.",
        "Check the input for values far outside of what the model was trained on.";
    OUTPUT_RANGE = "model-output-range", Failed,
        "The model computed a value outside of the range that its contract states.",
        "Check the input, then the range in the release.";
    OUTPUT_UNWRITTEN = "model-output-unwritten", Failed,
        "The model did not write an element of an output, so that whatever was in memory would be its answer.",
        "Write every element of every output for each of the `n` samples that `dunlin_infer` is called with.";
    INPUT_WRITTEN = "model-input-written", Failed,
        "The model changed an input during a call, which the host reads again afterwards.",
        "Copy what is to be changed into memory of the model's own.";
    REMEMBERS = "model-remembers", Failed,
        "A model of state `none` gave another answer for the same inputs after other calls.",
        "Reset what it keeps at the start of `dunlin_infer`, or say `\"state\": \"stream\"` in the card.";
    RESET = "model-reset", Failed,
        "After `dunlin_reset`, a stream gave another answer than a new instance.",
        "Set all state back in `dunlin_reset` to what it is after `dunlin_init`.";
    OUTPUT_MALFORMED = "model-output-malformed", Failed,
        "The bytes of an output are not elements of its type.",
        "Correct the model: a bool is 0 or 1, and a tensor is a whole number of elements.";
}
