#pragma once

#include <cstddef>
#include <span>

#include "headscope/tensor.h"

/// Numbers in blocks, as GGUF files store them. These are the plain reference: one block after the
/// other, on the calling thread, in the order of operations that the published reader has, so that
/// values agree to the bit. All fields of a block are little-endian.
/// Source  github.com/ggml-org/ggml, ggml-common.h (layouts) and ggml-quants.c (meaning).
namespace headscope::quants {

/// Whole blocks of a quantised dtype widened to f32. Shapes: `to` is a multiple of the block's
/// numbers, `blocks` holds bytes_of(dtype, to.size()). Errors: kDType, kShape.
void dequantise(DType dtype, const std::byte* blocks, std::span<float> to);

/// Whether quantise() can write this dtype: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, mxfp4,
/// tq1_0, tq2_0.
bool can_quantise(DType dtype);

/// Rounds numbers to a dtype. Shapes as above. Errors: kDType, kShape.
void quantise(DType dtype, std::span<const float> from, std::byte* blocks);

/// Reads one block; what the parts of this reference hand each other.
using ReadBlock = void (*)(const std::byte* block, float* to);
/// The types whose numbers are points of a grid (IQ1_S ... IQ3_S); nullptr for others.
ReadBlock grid_reader(DType dtype);

}  // namespace headscope::quants
