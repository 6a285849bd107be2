#pragma once

#include <filesystem>

#include "formats/json.h"
#include "headscope/model.h"

/// Where published models say how an answer begins and ends.
namespace headscope::models {

/// From generation_config.json, config.json, tokenizer_config.json and chat_template.jinja of a folder; what
/// is absent stays empty. Errors: kFormat, kIo.
GenerationConfig generation_config_in(const std::filesystem::path& folder,
                                      const json::Value& config);
/// From the keys tokenizer.* of GGUF metadata. Errors: kFormat.
GenerationConfig generation_config_from_gguf(const json::Value& metadata);

}  // namespace headscope::models
