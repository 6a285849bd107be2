#include "models/find.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "formats/hub.h"
#include "headscope/error.h"

namespace headscope::models {

namespace fs = std::filesystem;

namespace {

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string name_of(const fs::path& folder) {
  std::error_code ignored;
  const fs::path whole = fs::weakly_canonical(folder, ignored);
  return (ignored || whole.filename().empty() ? folder : whole).filename().string();
}

Place place_in(const fs::path& folder) {
  return {name_of(folder), folder, folder / "config.json", folder};
}

/// The GGUF file of a folder that holds one, or the first of one split model; empty when there is
/// none. Errors: kUsage when there are several.
fs::path gguf_in(const fs::path& folder) {
  fs::path found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool later_part =
        name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
    if (entry.path().extension() != ".gguf" || later_part) continue;
    if (!found.empty()) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("[model] expected one .gguf file in {}, found {} and {}",
                              folder.string(),
                              std::min(found, entry.path()).filename().string(),
                              std::max(found, entry.path()).filename().string()));
    }
    found = entry.path();
  }
  return found;
}

}  // namespace

std::vector<fs::path> shelves() {
  std::vector<fs::path> found;
  if (const char* chosen = std::getenv("HEADSCOPE_MODELS"); chosen != nullptr && *chosen != '\0')
    found.emplace_back(chosen);
  std::error_code ignored;
  // Beside the program or a few folders above it: build/release/headscope finds
  // build/release/models and, in a checkout, models/.
  constexpr int kFolders = 5;
  fs::path up = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (int n = 0; n < kFolders && up.has_relative_path(); ++n, up = up.parent_path()) {
    if (is_folder(up / "models")) found.push_back(up / "models");
    if (is_folder(up / "share" / "headscope" / "models"))
      found.push_back(up / "share" / "headscope" / "models");
  }
  // Last, under the current folder: that of a checkout whose program was taken elsewhere.
  const fs::path here = fs::current_path(ignored) / "models";
  const bool known = std::any_of(found.begin(), found.end(), [&](const fs::path& shelf) {
    return fs::equivalent(shelf, here, ignored);
  });
  if (is_folder(here) && !known) found.push_back(here);
  return found;
}

Place find(const std::string& name) {
  if (name.empty())
    throw Error(ErrorCode::kUsage, "[model] expected a name or a folder, found an empty one");
  const fs::path path(name);
  if (is_folder(path)) {
    if (is_file(path / "config.json")) return place_in(path);
    if (const fs::path gguf = gguf_in(path); !gguf.empty())
      return {name_of(path), path, gguf, gguf};
    throw Error(
        ErrorCode::kNotFound,
        fmt::format("[model] expected config.json or a .gguf file in {}, found none", name));
  }
  if (is_file(path)) {
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    if (path.extension() == ".json") return {name_of(folder), folder, path, folder};
    if (path.extension() == ".safetensors")
      return {name_of(folder), folder, folder / "config.json", path};
    if (path.extension() == ".gguf") return {path.stem().string(), folder, path, path};
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("[model] expected a folder, .safetensors, .gguf or config.json, found {}",
                    name));
  }
  std::error_code ignored;
  if (fs::exists(path, ignored)) {
    const auto type = fs::status(path, ignored).type();
    throw Error(ErrorCode::kInput,
                fmt::format("[model] expected a folder or a file, found {} {}",
                            type == fs::file_type::fifo     ? "the pipe"
                            : type == fs::file_type::socket ? "the socket"
                                                            : "the device",
                            name));
  }
  if (auto cached = hub::model_in_cache(name)) {
    Place place = find(cached->string());
    place.name = name;
    return place;
  }
  std::string looked;
  for (const fs::path& shelf : shelves()) {
    if (name.find('/') == std::string::npos && is_file(shelf / name / "config.json"))
      return place_in(shelf / name);
    looked += (looked.empty() ? "" : ", ") + shelf.string();
  }
  const bool of_a_hub = std::count(name.begin(), name.end(), '/') == 1 && name.front() != '/' &&
                        name.front() != '.' && name.back() != '/' && !is_folder(path.parent_path());
  throw Error(ErrorCode::kNotFound,
              fmt::format("[model] expected a folder, a file or a built-in model, found no {} "
                          "(looked here{}){}",
                          name,
                          looked.empty() ? "" : " and in " + looked,
                          of_a_hub ? "; headscope pull " + name + " brings one" : ""));
}

}  // namespace headscope::models
