/*
 * dunlin.h: write a Dunlin model in C or C++ without a C library.
 *
 * This header is the whole of it: names and types of ABI 1 (docs/abi.md), the card as JSON in the source,
 * tables of the tensors, and the message of a trap. Nothing is allocated, and what is not used adds nothing
 * to the module. A model is one file that
 *
 *   1. declares a static array for every tensor, with DUNLIN_REGION;
 *   2. says what it is, with DUNLIN_CARD;
 *   3. lists its tensors in the card's order, with DUNLIN_INPUTS and DUNLIN_OUTPUTS;
 *   4. defines dunlin_infer, and dunlin_reset where the card says "state": "stream".
 *
 *     #include "dunlin.h"
 *
 *     static DUNLIN_REGION float x[4];
 *     static DUNLIN_REGION float y[4];
 *
 *     DUNLIN_CARD({
 *         "abi": 1, "max_batch": 1, "stack_bytes": 16384, "producer": "double 1.0",
 *         "inputs": [{"name": "x", "dtype": "f32", "shape": [4]}],
 *         "outputs": [{"name": "y", "dtype": "f32", "shape": [4]}]
 *     });
 *     DUNLIN_INPUTS(x);
 *     DUNLIN_OUTPUTS(y);
 *
 *     int32_t dunlin_infer(uint32_t n) {
 *         (void)n;
 *         for (int i = 0; i < 4; i++) y[i] = 2 * x[i];
 *         return DUNLIN_OK;
 *     }
 *
 * Built by clang 14 or newer and its linker (Debian: apt-get install clang lld), in one command:
 *
 *     clang --target=wasm32 -std=c11 -O2 -mbulk-memory -ffreestanding -fno-math-errno -nostdlib \
 *         -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=16384 -o model.wasm model.c
 *
 *   -mbulk-memory        memset and memcpy that the compiler writes become instructions: no library
 *   -ffreestanding       no loop becomes a call of a library's function
 *   -fno-math-errno      __builtin_sqrtf, __builtin_fabsf, __builtin_floorf ... are instructions
 *   --stack-first        the stack lies below everything: an overflow traps instead of changing tensors
 *   -z stack-size        the number that the card calls stack_bytes; the linker's default is 64 KiB
 *   -msimd128, if wanted, needs "simd": "deterministic" in the card
 *
 * C++ is built by the same command with clang++, -std=c++17 and, as there is no C++ library,
 *
 *     -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-c++-static-destructors
 *
 * Constructors of global objects run once, before dunlin_init: DUNLIN_CARD exports `_initialize`, which calls
 * them. The same holds for functions with __attribute__((constructor)) in C. Destructors of global objects
 * never run.
 *
 * Any other compiler builds the same file natively, for tests: the exports are then plain functions, the
 * imports do nothing, and the card is left out.
 */
#ifndef DUNLIN_H
#define DUNLIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __wasm__
#define DUNLIN_EXPORT(name) __attribute__((export_name(name)))
#define DUNLIN_IMPORT(name) __attribute__((import_module("dunlin"), import_name(name)))
#else
#define DUNLIN_EXPORT(name)
#endif

/* ---- Statuses: what dunlin_infer and dunlin_init return ------------------------------------------- */

/* Done. 1 to 255 are the model's own: it gave no answer, for a reason that its author documents; the host
 * counts the call as failed and reads no output. Every other number is reserved. */
#define DUNLIN_OK 0

/* ---- Tensors --------------------------------------------------------------------------------------- */

/* Puts a tensor where the host may look for it, at a multiple of 16 bytes:
 *
 *     static DUNLIN_REGION float acceleration[MAX_BATCH][64];   // "shape": ["n", 64]
 *     static DUNLIN_REGION float level;                         // "shape": []; listed as &level
 *
 * Row-major, with room for max_batch samples. The types of C for dtypes: float, double, int8_t to int64_t,
 * uint8_t to uint64_t, and uint8_t (0 or 1) for "bool". */
#define DUNLIN_REGION __attribute__((aligned(16)))

/* Lists the inputs in the card's order, each an array, or the address of a scalar:
 *
 *     DUNLIN_INPUTS(acceleration, &level);
 *
 * Defines dunlin_input. A model never writes its inputs: the host reads them again after the call. */
#define DUNLIN_INPUTS(...) DUNLIN_TABLE_(dunlin_input, __VA_ARGS__)

/* Lists the outputs in the card's order, likewise. Defines dunlin_output. Every element of every sample that
 * was asked for must be written in each call: what is there before is not defined. */
#define DUNLIN_OUTPUTS(...) DUNLIN_TABLE_(dunlin_output, __VA_ARGS__)

#define DUNLIN_TABLE_(function, ...)                                                                        \
    void *function(uint32_t index) {                                                                       \
        static void *const regions[] = {__VA_ARGS__};                                                      \
        return index < sizeof regions / sizeof regions[0] ? regions[index] : NULL;                         \
    }                                                                                                      \
    struct dunlin_semicolon_

/* ---- The card -------------------------------------------------------------------------------------- */

/* What the model says of itself: the JSON of docs/abi.md, written as it is between the parentheses. Once in
 * a module. Numbers may be macros (plain ones: `#define WINDOW 64`), so that arrays and card cannot differ:
 *
 *     DUNLIN_CARD({ "abi": 1, "max_batch": MAX_BATCH, ... "shape": ["n", WINDOW] ... });
 *
 * The preprocessor knows no JSON: `dunlin inspect model.wasm` says what is wrong with it. Arrays must be as
 * large as the card says, which nothing can check here. */
#ifdef __wasm__
/* Made by the linker: calls every constructor. Where no code refers to it, the linker takes the module for a
 * command and wraps each export in a function that runs the constructors again, at every call. */
void __wasm_call_ctors(void);
DUNLIN_EXPORT("_initialize") void dunlin_initialize_(void);

#define DUNLIN_CARD(...)                                                                                   \
    const struct dunlin_message *dunlin_error(void) { return &dunlin_message_; }                            \
    struct dunlin_message dunlin_message_;                                                                 \
    void dunlin_initialize_(void) { __wasm_call_ctors(); }                                                  \
    /* Once to text, and once more to the assembler's text with its quotes. */                             \
    __asm__(".section .custom_section.dunlin.card,\"\",@\n.ascii " DUNLIN_TEXT_(DUNLIN_TEXT_(__VA_ARGS__))  \
            "\n.text\n");                                                                                  \
    struct dunlin_semicolon_
#else
#define DUNLIN_CARD(...)                                                                                   \
    const struct dunlin_message *dunlin_error(void) { return &dunlin_message_; }                            \
    struct dunlin_message dunlin_message_;                                                                 \
    struct dunlin_semicolon_
#endif

#define DUNLIN_TEXT_(...) DUNLIN_TEXT_2_(__VA_ARGS__)
#define DUNLIN_TEXT_2_(...) #__VA_ARGS__

/* ---- What a model defines -------------------------------------------------------------------------- */

/* Computes the outputs of the first n samples, 1 <= n <= max_batch; gives DUNLIN_OK or a status. Needed. */
DUNLIN_EXPORT("dunlin_infer") int32_t dunlin_infer(uint32_t n);

/* Forgets everything since initialisation. Needed with "state": "stream". */
DUNLIN_EXPORT("dunlin_reset") void dunlin_reset(void);

/* Prepares the model, once, before anything else; a status other than DUNLIN_OK refuses it. Optional. */
DUNLIN_EXPORT("dunlin_init") int32_t dunlin_init(void);

/* The extent of an axis after the last call, 0 to its maximum; axes count from 0, the batch included. Needed
 * where the card has an axis {"max": m}. */
DUNLIN_EXPORT("dunlin_dim") uint32_t dunlin_dim(uint32_t output, uint32_t axis);

/* Defined by DUNLIN_INPUTS and DUNLIN_OUTPUTS. */
DUNLIN_EXPORT("dunlin_input") void *dunlin_input(uint32_t index);
DUNLIN_EXPORT("dunlin_output") void *dunlin_output(uint32_t index);

/* ---- Traps ----------------------------------------------------------------------------------------- */

/* The longest message, in bytes of UTF-8. */
#define DUNLIN_MESSAGE_BYTES 256

/* What the host reads after a trap, without any import. Defined by DUNLIN_CARD. */
struct dunlin_message {
    uint32_t len;
    char text[DUNLIN_MESSAGE_BYTES];
};
extern struct dunlin_message dunlin_message_;
DUNLIN_EXPORT("dunlin_error") const struct dunlin_message *dunlin_error(void);

/* Ends the call with a trap whose message the host reports; of a longer text, the first 256 bytes. The
 * instance is not used again, so that this is for what cannot be: refuse bad input with a status instead.
 * Natively, the program aborts. */
__attribute__((noreturn, unused)) static void dunlin_panic(const char *text) {
    uint32_t len = 0;
    while (len < DUNLIN_MESSAGE_BYTES && text[len] != '\0') {
        dunlin_message_.text[len] = text[len];
        len++;
    }
    dunlin_message_.len = len;
    __builtin_trap();
}

/* Panics with the condition, file and line where it is false. */
#define DUNLIN_ASSERT(condition)                                                                           \
    ((condition) ? (void)0 : dunlin_panic(#condition " is false (" __FILE__ ":" DUNLIN_TEXT_(__LINE__) ")"))

/* ---- Imports: each is one of the module only if it is called, and then the signed release must grant it - */

/* How important a line of the log is. */
enum dunlin_level {
    DUNLIN_ERROR = 1, /* something failed */
    DUNLIN_WARN = 2,  /* something is not as it should be */
    DUNLIN_INFO = 3,  /* what an operator may want to know */
    DUNLIN_DEBUG = 4  /* what a developer may want to know */
};

/* The length of a text that ends in 0, in bytes. */
static inline size_t dunlin_len_(const char *text) {
    size_t len = 0;
    while (text[len] != '\0') {
        len++;
    }
    return len;
}

#ifdef __wasm__
DUNLIN_IMPORT("log") void dunlin_import_log_(int32_t level, const char *text, size_t len);
DUNLIN_IMPORT("metric") void dunlin_import_metric_(const char *name, size_t len, double value);
DUNLIN_IMPORT("clock") int64_t dunlin_import_clock_(void);
#endif

/* Writes a line of UTF-8 to the device's log. 256 bytes of it are kept. Needs the import "log". */
static inline void dunlin_log(enum dunlin_level level, const char *text) {
#ifdef __wasm__
    dunlin_import_log_((int32_t)level, text, dunlin_len_(text));
#else
    (void)level, (void)text;
#endif
}

/* Reports a named number in the device's telemetry. A name has 1 to 63 of a-z, 0-9 and '-', no '-' in front,
 * and the value is finite; the host drops others and counts them. Needs the import "metric". */
static inline void dunlin_metric(const char *name, double value) {
#ifdef __wasm__
    dunlin_import_metric_(name, dunlin_len_(name), value);
#else
    (void)name, (void)value;
#endif
}

/* Milliseconds of the host's clock, constant within a call; natively 0. Needs the import "clock". */
static inline int64_t dunlin_clock(void) {
#ifdef __wasm__
    return dunlin_import_clock_();
#else
    return 0;
#endif
}

#ifdef __cplusplus
}
#endif

#endif
