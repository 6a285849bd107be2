#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace headscope::models {

/// Where a model's files are.
struct Place {
  std::string name;  ///< what people call it
  std::filesystem::path folder;
  std::filesystem::path config;
  std::filesystem::path
      weights;  ///< a .safetensors file, the folder, or a .gguf file (then `config`, too)
};

/// Finds what Model::load was asked for. Errors: kNotFound (says where it looked).
Place find(const std::string& name);

/// Folders that hold built-in models, in the order of search: $HEADSCOPE_MODELS, models/ beside or above the
/// program, models/ under the current folder.
std::vector<std::filesystem::path> shelves();

}  // namespace headscope::models
