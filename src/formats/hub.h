#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "headscope/error.h"

/// The Hugging Face hub: models on the net by their name `org/name`, and the folder that keeps what
/// was fetched, laid out as huggingface_hub lays it out, so that both find each other's files:
///   models--ORG--NAME/blobs/HASH             contents, each under its hash
///   models--ORG--NAME/refs/REVISION          the commit that a name stands for
///   models--ORG--NAME/snapshots/COMMIT/FILE  links to blobs
namespace headscope::hub {

struct Settings {
  std::string endpoint = "https://huggingface.co";
  std::filesystem::path cache;
  std::string token;  ///< sent to the endpoint and to nobody else
  bool offline = false;
  /// First wait after a failure, doubled each time.
  double patience_s = 0.5;
  /// Without a byte for so long, a connection counts as dropped.
  int stall_s = 30;

  /// HF_ENDPOINT; HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
  /// ~/.cache/huggingface/hub; HF_TOKEN; HF_HUB_OFFLINE.
  static Settings from_environment();
};

/// "org/name", or the bare name of an old model ("gpt2"), of letters, digits and . - _
bool is_name(std::string_view name);

/// The folder of a model in the cache; nothing when it was never fetched.
std::optional<std::filesystem::path> snapshot(const Settings& settings,
                                              const std::string& name,
                                              const std::string& revision = "main");

/// What a model `org/name` of the cache is opened by: its folder, or the one GGUF file that lies there
/// without a config.json. Settings are those of the environment.
std::optional<std::filesystem::path> model_in_cache(const std::string& name);

/// A model in the cache, as far as it is there.
struct Cached {
  std::string name;
  std::filesystem::path folder;  ///< of its snapshot; empty when there is none
  std::string problem;           ///< what is wrong with the entry; "" when nothing is
};
/// All models in the cache, sorted by name. A cache that is not there is empty.
std::vector<Cached> cached(const Settings& settings);

/// A file of a model on the hub.
struct File {
  std::string path;  ///< inside the model, with /
  std::uint64_t size = 0;
  std::string hash;       ///< names its blob: SHA-256, or the SHA-1 that git gives a small file
  bool is_large = false;  ///< the hash is a SHA-256
};

/// A model on the hub at one commit.
struct Listing {
  std::string commit;
  std::vector<File> files;
};
/// From the hub's own JSON. Errors: kFormat, also for names that would lead out of the folder.
std::vector<File> parse_listing(std::string_view json, std::string_view name);

/// The files a model needs: those named; else configuration, tokenizer and safetensors; else the
/// one GGUF file. Errors: kNotFound (a file that is not there, with the nearest names), kUsage
/// (several GGUF files: names them), kUnsupported (no weights that can be read).
std::vector<File> choose(const Listing& listing,
                         const std::vector<std::string>& named,
                         const std::string& name);

struct PullOptions {
  std::string revision = "main";  ///< branch, tag or commit
  std::vector<std::string> files;
};

/// How far a pull is: called often.
struct Progress {
  const File* file = nullptr;
  std::uint64_t file_done = 0;
  std::uint64_t done = 0;  ///< bytes of all files, those that were there already too
  std::uint64_t total = 0;
  std::uint64_t fetched = 0;  ///< bytes that came over the net in this call
  std::string note;           ///< what it waits for; "" while bytes come
};
using Watch = std::function<void(const Progress&)>;

struct Pulled {
  std::filesystem::path folder;  ///< the snapshot
  std::string commit;
  std::vector<File> files;
  std::uint64_t fetched = 0;  ///< bytes that came over the net
};

/// Whether this build can fetch (libcurl and OpenSSL were there).
bool can_pull();

/// Fetches a model into the cache. What is there already is not fetched again, and what was cut off
/// goes on where it stopped. A file appears under its name once its size and hash are right.
/// Errors: kUsage (not a name); kNotFound (no such model, revision or file); kInput (the hub wants a
///         token, or another one); kUnsupported (no libcurl; offline); kFormat (wrong hash, a
///         hostile listing); kIo (the net, the disk), kResources (no room).
Pulled pull(const Settings& settings,
            const std::string& name,
            const PullOptions& options,
            const Watch& watch = nullptr);

}  // namespace headscope::hub
