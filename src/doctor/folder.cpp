#include "doctor/folder.h"

#include <fmt/format.h>

#include "headscope/error.h"
#include "models/find.h"
#include "models/gguf_convert.h"

namespace headscope::doctor {

namespace fs = std::filesystem;

std::string stored_name(const Views& tensors, const models::Blueprint& b, const std::string& name) {
  if (tensors.contains(name)) return name;
  for (const std::string& prefix : b.prefixes) {
    if (tensors.contains(prefix + name)) return prefix + name;
  }
  return "";
}

namespace {
[[noreturn]] void refused(const fs::filesystem_error& error) {
  throw Error(ErrorCode::kIo,
              fmt::format("[model] expected to read and write {}, found: {}",
                          error.path1().string(),
                          error.code().message()));
}
}  // namespace

NewFolder::NewFolder(const fs::path& source, fs::path folder) : folder_(std::move(folder)) {
  folder_ = folder_.lexically_normal();
  if (folder_.filename().empty()) folder_ = folder_.parent_path();  // "name/"
  partial_ = folder_;
  partial_ += ".partial";
  const models::Place place = models::find(source.string());
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
  try {
    fs::create_directories(partial_);
    converted_ = place.weights.extension() == ".gguf";
    weights_ = converted_ ? partial_ / "model.safetensors" : place.weights;
    if (converted_) {
      models::convert_to_folder(place.weights, partial_, DType::kF32);
      return;
    }
    for (const auto& entry : fs::directory_iterator(place.folder)) {
      const std::string name = entry.path().filename().string();
      const std::string ending = entry.path().extension().string();
      if (ending == ".safetensors" || ending == ".bin" || ending == ".gguf" ||
          name.ends_with(".index.json"))
        continue;
      // The new folder may lie within the old one, but not in a part of it that is copied.
      const std::string old = fs::weakly_canonical(entry.path()).string();
      const std::string made = fs::weakly_canonical(partial_).string();
      if (made == old) continue;
      if (made.starts_with(old + '/')) {
        throw Error(ErrorCode::kUsage,
                    fmt::format("[model] expected a new folder outside of {}, found {}",
                                entry.path().string(),
                                folder_.string()));
      }
      fs::copy(entry.path(), partial_ / name, fs::copy_options::recursive);
    }
  } catch (const fs::filesystem_error& error) {
    fs::remove_all(partial_, ignored);
    refused(error);
  } catch (...) {
    fs::remove_all(partial_, ignored);
    throw;
  }
}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!partial_.empty()) fs::remove_all(partial_, ignored);
}

Safetensors NewFolder::weights() const { return Safetensors::open(weights_); }

void NewFolder::finish() {
  try {
    fs::rename(partial_, folder_);
  } catch (const fs::filesystem_error& error) {
    refused(error);
  }
  partial_.clear();
}

}  // namespace headscope::doctor
