#pragma once

#include <string>

#include "cli/arguments.h"

namespace headscope::cli {

/// `headscope bench MODEL`: tokens per second of prefill (128, 512, 2048 tokens) and of decoding behind 16 and
/// 1024 tokens, greedy, on made-up prompts, with keys and values kept as `cache`, and the memory that is resident
/// then. With `quick`, the shortest of each. Errors: those of Model::load; kUnsupported for any model
/// but a decoder.
void bench_model(
    const Call& call, const std::string& name, bool quick, DType cache, std::string& out);

}  // namespace headscope::cli
