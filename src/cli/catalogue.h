#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

/// What models there are besides the built-in ones, from their headers alone: no weights are read.
namespace headscope::cli {

struct Listed {
  std::string name;             ///< what `headscope see` is given
  std::filesystem::path path;   ///< folder or file
  std::string family;           ///< "" when it cannot be told
  std::int64_t layers = 0;      ///< 0: unknown
  std::int64_t heads = 0;       ///< of a layer
  std::int64_t parameters = 0;  ///< 0: unknown
  std::uint64_t bytes = 0;      ///< of the weights
  std::string problem;          ///< why it cannot run; "" when it can
};

/// A folder in Hugging Face layout, or one that holds GGUF files (then one entry each).
std::vector<Listed> survey_folder(const std::string& name, const std::filesystem::path& folder);
/// One GGUF file.
Listed survey_gguf(const std::string& name, const std::filesystem::path& file);
/// The cache of the Hugging Face hub.
std::vector<Listed> survey_cache();
/// The GGUF files of one folder, by name; of a split model the first part.
std::vector<Listed> survey_gguf_files(const std::filesystem::path& folder);

}  // namespace headscope::cli
