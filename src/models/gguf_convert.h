#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "headscope/tensor.h"

/// Models from one layout to the other. Nothing of a model's size stands in memory, and a file
/// appears whole or not at all.
namespace headscope::models {

/// Told what is being written, for a line of progress; may be empty.
using Told = std::function<void(const std::string&)>;

/// A Hugging Face folder (config.json, weights, tokenizer.json and its companions where there are
/// any) as one GGUF file. `dtype` is f32, f16, bf16, q8_0 or q4_0: of matrices whose rows are whole
/// blocks; norms, biases and routers stay f32, embeddings are q8_0 where matrices are q4_0.
/// Returns what was left out since GGUF has no name for it: BERT's pooler, rules of its tokenizer.
/// Errors: kUnsupported (a family GGUF has no names for here, a tensor the file could not hold),
/// kNotFound, kFormat, kShape, kIo.
std::vector<std::string> convert_to_gguf(const std::filesystem::path& folder,
                                         const std::filesystem::path& to,
                                         DType dtype,
                                         const Told& told = {});

/// A GGUF file as a Hugging Face folder: config.json, model.safetensors, and tokenizer.json where the
/// kind of tokenizer has one here. `dtype` is f32, f16 or bf16; norms and biases get it too.
/// Errors: as above.
void convert_to_folder(const std::filesystem::path& gguf,
                       const std::filesystem::path& folder,
                       DType dtype,
                       const Told& told = {});

}  // namespace headscope::models
