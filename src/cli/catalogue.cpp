#include "cli/catalogue.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/hub.h"
#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/gguf.h"
#include "headscope/safetensors.h"
#include "models/blueprint.h"
#include "models/gguf_config.h"

namespace headscope::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kLongestConfig = std::size_t{16} << 20;

// Paths in a folder that end so, sorted.
std::vector<fs::path> files_in(const fs::path& folder, std::string_view ending) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().ends_with(ending)) out.push_back(it->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

template <typename Tensors>
std::int64_t count(const Tensors& tensors) {
  std::int64_t n = 0;
  for (const auto& [name, tensor] : tensors) n += tensor.size();
  return n;
}

void read_config(const json::Value& config, Listed& listed) {
  listed.family = json::get_or<std::string>(config, "model_type", "", "config.json");
  const models::Blueprint blueprint = models::read_blueprint(config);
  listed.layers = static_cast<std::int64_t>(blueprint.layers.size());
  listed.heads = blueprint.heads();
}

// Fills in what `read` finds; what it complains of is the entry's problem.
template <typename Read>
void attempt(Listed& listed, Read read) {
  try {
    read();
  } catch (const Error& error) {
    if (listed.problem.empty()) listed.problem = error.what();
  } catch (const fs::filesystem_error& error) {
    if (listed.problem.empty()) listed.problem = error.what();
  }
}

}  // namespace

Listed survey_gguf(const std::string& name, const fs::path& file) {
  Listed out;
  out.name = name;
  out.path = file;
  attempt(out, [&] {
    std::error_code ignored;
    out.bytes = fs::file_size(file, ignored);
    if (ignored) out.bytes = 0;
    const Gguf gguf = Gguf::open(file);
    out.parameters = count(gguf.tensors());
    const auto& architecture = gguf.metadata().find("general.architecture");
    if (architecture != gguf.metadata().end() && architecture->is_string())
      out.family = architecture->get<std::string>();
    read_config(models::config_from_gguf(gguf, models::gguf_family_in(gguf)), out);
  });
  return out;
}

std::vector<Listed> survey_folder(const std::string& name, const fs::path& folder) {
  std::vector<Listed> out;
  std::error_code ignored;
  if (!fs::exists(folder / "config.json", ignored)) {
    for (Listed& listed : survey_gguf_files(folder)) {
      listed.name = fmt::format("{}/{}", name, listed.name);
      out.push_back(std::move(listed));
    }
    if (!out.empty()) return out;
  }
  Listed listed;
  listed.name = name;
  listed.path = folder;
  attempt(listed, [&] {
    read_config(json::parse(read_file(folder / "config.json", kLongestConfig), "config.json"),
                listed);
  });
  attempt(listed, [&] {
    const std::vector<fs::path> weights = files_in(folder, ".safetensors");
    for (const fs::path& file : weights) {
      listed.parameters += count(Safetensors::open(file).tensors());
      listed.bytes += fs::file_size(file);
    }
    if (weights.empty()) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("[{}] expected weights as .safetensors, found none", name));
    }
  });
  out.push_back(std::move(listed));
  return out;
}

std::vector<Listed> survey_cache() {
  std::vector<Listed> out;
  for (const hub::Cached& cached : hub::cached(hub::Settings::from_environment())) {
    if (!cached.problem.empty()) {
      Listed broken;
      broken.name = cached.name;
      broken.problem = cached.problem;
      out.push_back(std::move(broken));
      continue;
    }
    for (Listed& listed : survey_folder(cached.name, cached.folder))
      out.push_back(std::move(listed));
  }
  return out;
}

std::vector<Listed> survey_gguf_files(const fs::path& folder) {
  std::vector<Listed> out;
  for (const fs::path& file : files_in(folder, ".gguf")) {
    const std::string name = file.filename().string();
    const std::size_t of = name.rfind("-of-");
    const bool later_part = of != std::string::npos && of >= 6 && name[of - 6] == '-' &&
                            name.substr(of - 5, 5) != "00001";
    if (!later_part) out.push_back(survey_gguf(name, file));
  }
  return out;
}

}  // namespace headscope::cli
