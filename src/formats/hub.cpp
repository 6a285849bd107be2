#include "formats/hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "formats/edit_distance.h"
#include "formats/hub_cache.h"
#include "formats/json.h"
#include "headscope/safetensors.h"

namespace headscope::hub {

namespace fs = std::filesystem;

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool is_true(std::string value) {
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return value == "1" || value == "true" || value == "yes" || value == "on";
}

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The commit a revision stands for, by the refs of the cache; "" when unknown.
std::string commit_of(const fs::path& folder, const std::string& revision) {
  if (is_commit(revision)) return revision;
  if (!is_inside(revision)) return {};
  std::error_code ignored;
  const fs::path ref = folder / "refs" / revision;
  if (!fs::is_regular_file(ref, ignored)) return {};
  constexpr std::size_t kLongest = 1024;
  std::string commit = read_file(ref, kLongest);
  while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  return is_commit(commit) ? commit : std::string();
}

bool has_ending(const File& file, std::string_view ending) { return file.path.ends_with(ending); }
bool is_top(const File& file) { return file.path.find('/') == std::string::npos; }

// What a model is made of besides its weights.
bool is_description(const File& file) {
  constexpr std::array<std::string_view, 24> kNames = {"config.json",
                                                       "generation_config.json",
                                                       "tokenizer.json",
                                                       "tokenizer_config.json",
                                                       "tokenizer.model",
                                                       "special_tokens_map.json",
                                                       "added_tokens.json",
                                                       "vocab.json",
                                                       "vocab.txt",
                                                       "merges.txt",
                                                       "spiece.model",
                                                       "sentencepiece.bpe.model",
                                                       "source.spm",
                                                       "target.spm",
                                                       "chat_template.jinja",
                                                       "chat_template.json",
                                                       "preprocessor_config.json",
                                                       "processor_config.json",
                                                       "normalizer.json",
                                                       "modules.json",
                                                       "sentence_bert_config.json",
                                                       "config_sentence_transformers.json",
                                                       "1_Pooling/config.json",
                                                       "roles.json"};
  return std::find(kNames.begin(), kNames.end(), file.path) != kNames.end();
}

std::vector<File> named_files(const Listing& listing,
                              const std::vector<std::string>& named,
                              const std::string& name) {
  std::vector<File> out;
  for (const std::string& path : named) {
    const auto found = std::find_if(listing.files.begin(),
                                    listing.files.end(),
                                    [&](const File& file) { return file.path == path; });
    if (found != listing.files.end()) {
      out.push_back(*found);
      continue;
    }
    std::vector<std::pair<std::size_t, std::string>> near;
    for (const File& file : listing.files) {
      constexpr std::size_t kComparable = 300;
      near.emplace_back(edit_distance(std::string_view(path).substr(0, kComparable),
                                      std::string_view(file.path).substr(0, kComparable)),
                        file.path);
    }
    std::sort(near.begin(), near.end());
    std::string some;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, near.size()); ++i)
      some += (i == 0 ? "; nearest: " : ", ") + near[i].second;
    throw Error(
        ErrorCode::kNotFound,
        fmt::format(
            "[{}] expected a file of this model, found no {}{}", name, json::quote(path), some));
  }
  return out;
}

}  // namespace

bool is_commit(std::string_view text) { return is_hex(text, 40); }

bool is_inside(std::string_view path) {
  if (path.empty() || path.size() > 4096) return false;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    const bool plain = std::none_of(part.begin(), part.end(), [](unsigned char c) {
      return c < 0x20 || c == 0x7F || c == '\\';
    });
    if (part.empty() || part == "." || part == ".." || part.size() > 255 || !plain) return false;
    begin = end + 1;
  }
  return true;
}

fs::path folder_of(const Settings& settings, std::string_view name) {
  std::string folder = "models--" + std::string(name);
  if (const std::size_t slash = folder.find('/'); slash != folder.npos)
    folder.replace(slash, 1, "--");
  return settings.cache / folder;
}

Settings Settings::from_environment() {
  Settings out;
  if (std::string chosen = environment("HF_ENDPOINT"); !chosen.empty()) {
    while (chosen.ends_with('/')) chosen.pop_back();
    out.endpoint = chosen;
  }
  out.token = environment("HF_TOKEN");
  out.offline = is_true(environment("HF_HUB_OFFLINE"));
  const std::string home = environment("HOME");
  const std::string caches = environment("XDG_CACHE_HOME");
  if (const std::string cache = environment("HF_HUB_CACHE"); !cache.empty()) {
    out.cache = cache;
  } else if (const std::string hf_home = environment("HF_HOME"); !hf_home.empty()) {
    out.cache = fs::path(hf_home) / "hub";
  } else if (!caches.empty()) {
    out.cache = fs::path(caches) / "huggingface" / "hub";
  } else {
    out.cache = fs::path(home.empty() ? "." : home) / ".cache" / "huggingface" / "hub";
  }
  return out;
}

bool is_name(std::string_view name) {
  const auto is_part = [](std::string_view part) {
    const auto fits = [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
    };
    constexpr std::size_t kLongest = 96;  // as on the hub
    return !part.empty() && part.size() <= kLongest && part[0] != '.' && part[0] != '-' &&
           part.find("..") == part.npos && part.find("--") == part.npos &&
           std::all_of(part.begin(), part.end(), fits);
  };
  const std::size_t slash = name.find('/');
  if (slash == name.npos) return is_part(name);
  return is_part(name.substr(0, slash)) && is_part(name.substr(slash + 1));
}

std::optional<fs::path> snapshot(const Settings& settings,
                                 const std::string& name,
                                 const std::string& revision) {
  if (!is_name(name)) return std::nullopt;
  const fs::path folder = folder_of(settings, name);
  const std::string commit = commit_of(folder, revision);
  if (commit.empty()) return std::nullopt;
  std::error_code ignored;
  const fs::path found = folder / "snapshots" / commit;
  if (!fs::is_directory(found, ignored)) return std::nullopt;
  return found;
}

std::optional<fs::path> model_in_cache(const std::string& name) {
  if (name.find('/') == std::string::npos) return std::nullopt;  // bare names are built-in models
  auto folder = snapshot(Settings::from_environment(), name);
  std::error_code error;
  if (!folder || fs::exists(*folder / "config.json", error)) return folder;
  std::optional<fs::path> lone;
  for (fs::directory_iterator it(*folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != ".gguf") continue;
    if (lone) return folder;
    lone = it->path();
  }
  return lone ? lone : folder;
}

std::vector<Cached> cached(const Settings& settings) {
  std::vector<Cached> out;
  std::error_code error;
  for (fs::directory_iterator it(settings.cache, error), end; !error && it != end;
       it.increment(error)) {
    std::string name = it->path().filename().string();
    if (!name.starts_with("models--")) continue;
    name.erase(0, 8);
    if (const std::size_t dashes = name.find("--"); dashes != name.npos)
      name.replace(dashes, 2, "/");
    Cached entry{name, {}, ""};
    try {
      if (auto found = snapshot(settings, name)) {
        entry.folder = *found;
      } else if (const fs::path some = newest_snapshot(it->path()); !some.empty()) {
        entry.folder = some;  // of another revision than main
      } else {
        entry.problem = fmt::format(
            "[{}] expected a snapshot, found none (fetch it again: "
            "headscope pull {})",
            name,
            name);
      }
    } catch (const Error& failure) {
      entry.problem = failure.what();
    }
    out.push_back(std::move(entry));
  }
  std::sort(
      out.begin(), out.end(), [](const Cached& a, const Cached& b) { return a.name < b.name; });
  return out;
}

fs::path newest_snapshot(const fs::path& folder) {
  fs::path newest;
  fs::file_time_type when;
  std::error_code error;
  for (fs::directory_iterator it(folder / "snapshots", error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    const auto written = it->last_write_time(ignored);
    if (!it->is_directory(ignored) || (!newest.empty() && written <= when)) continue;
    newest = it->path();
    when = written;
  }
  return newest;
}

std::vector<File> parse_listing(std::string_view text, std::string_view name) {
  const json::Value list = json::parse(text, name);
  if (!list.is_array()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected a list of files, found {}", name, json::describe(list)));
  }
  std::vector<File> out;
  for (const json::Value& entry : list) {
    if (json::require<std::string>(entry, "type", name) != "file") continue;
    File file;
    file.path = json::require<std::string>(entry, "path", name);
    if (!is_inside(file.path)) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected names of files inside the model, found {}",
                              name,
                              json::quote(file.path)));
    }
    const json::Value* large = json::find(entry, "lfs", name);
    const json::Value& source = large != nullptr ? *large : entry;
    file.is_large = large != nullptr;
    file.size = json::require<std::uint64_t>(source, "size", name);
    file.hash = json::require<std::string>(source, "oid", name);
    if (!is_hex(file.hash, file.is_large ? 64 : 40)) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected the hash of {}, found {}",
                              name,
                              json::quote(file.path),
                              json::quote(file.hash)));
    }
    out.push_back(std::move(file));
  }
  return out;
}

std::vector<File> choose(const Listing& listing,
                         const std::vector<std::string>& named,
                         const std::string& name) {
  if (!named.empty()) return named_files(listing, named, name);
  std::vector<File> out;
  std::vector<File> weights;
  std::vector<File> gguf;
  bool pickled = false;
  for (const File& file : listing.files) {
    if (is_description(file)) out.push_back(file);
    if (!is_top(file)) continue;
    if (has_ending(file, ".safetensors") || has_ending(file, ".safetensors.index.json"))
      weights.push_back(file);
    if (has_ending(file, ".gguf")) gguf.push_back(file);
    pickled = pickled || has_ending(file, ".bin") || has_ending(file, ".pt");
  }
  // Some models come twice, for other programs under other names (consolidated.safetensors).
  const auto is_model = [](const File& file) { return file.path.starts_with("model"); };
  if (std::any_of(weights.begin(), weights.end(), is_model)) {
    weights.erase(std::remove_if(weights.begin(), weights.end(), std::not_fn(is_model)),
                  weights.end());
  }
  if (!weights.empty()) {
    out.insert(out.end(), weights.begin(), weights.end());
    return out;
  }
  if (gguf.size() == 1) {
    out.push_back(gguf[0]);
    return out;
  }
  if (gguf.empty()) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("[{}] expected weights as .safetensors or .gguf, found {}",
                    name,
                    pickled ? "only Python pickles; --revision takes a branch of it that has them "
                              "(refs/pr/1, say), or from_pretrained and then save_pretrained of "
                              "Transformers write them"
                            : "none"));
  }
  std::string all;
  for (const File& file : gguf) all += (all.empty() ? "" : ", ") + file.path;
  throw Error(ErrorCode::kUsage,
              fmt::format("[{}] expected --file with one of {} GGUF files, found none: {}",
                          name,
                          gguf.size(),
                          all));
}

}  // namespace headscope::hub
