#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "headscope/safetensors.h"
#include "models/blueprint.h"

/// Folders of changed models: written beside their place, and there whole or not at all.
namespace headscope::doctor {

using Views = std::map<std::string, AnyView, std::less<>>;

/// Where a tensor of a file is, with or without the family's prefix; "" where it is not.
std::string stored_name(const Views& tensors, const models::Blueprint& b, const std::string& name);

/// FOLDER.partial with everything of the model at `source` but its weights; a GGUF file becomes a folder of f32, weights
/// and all. Removed again unless `finish` gave it its name.
class NewFolder {
 public:
  /// `source` is Model::source. Errors: kIo, those of conversion.
  NewFolder(const std::filesystem::path& source, std::filesystem::path folder);
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder();

  /// While it is written.
  [[nodiscard]] const std::filesystem::path& path() const { return partial_; }
  /// Whether the weights came from a GGUF file, and lie in model.safetensors here.
  [[nodiscard]] bool converted() const { return converted_; }
  /// The weights as they were.
  [[nodiscard]] Safetensors weights() const;
  void finish();

 private:
  std::filesystem::path folder_, partial_, weights_;
  bool converted_ = false;
};

}  // namespace headscope::doctor
