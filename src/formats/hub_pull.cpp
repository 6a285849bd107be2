#include <fmt/format.h>

#include "formats/hub.h"

#ifndef HEADSCOPE_HUB

namespace headscope::hub {

bool can_pull() { return false; }

Pulled pull(const Settings&, const std::string& name, const PullOptions&, const Watch&) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[{}] expected a build with libcurl and OpenSSL to fetch a model, found "
                          "one without; a folder of its files works as well",
                          name));
}

}  // namespace headscope::hub

#else

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <system_error>
#include <thread>

#include "formats/hub_blob.h"
#include "formats/hub_cache.h"
#include "formats/hub_http.h"
#include "formats/json.h"
#include "headscope/safetensors.h"

namespace headscope::hub {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTries = 6;  // without a byte of progress between them
constexpr double kLongestWait_s = 60.0;

std::string header(const Response& response, const std::string& name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? std::string() : found->second;
}

// One pull: the connection, how far it is, and when to try again.
class Puller {
 public:
  Puller(const Settings& settings, const std::string& name, const Watch& watch)
      : settings_(settings),
        name_(name),
        watch_(watch),
        http_(settings.endpoint, settings.token, settings.stall_s) {}

  Listing list(const std::string& revision);
  Pulled fetch(const Listing& listing, const std::vector<File>& files);

 private:
  [[nodiscard]] bool is_transient(const Response& response) const {
    const int s = response.status;
    return s == 0 || s == 408 || s == 429 || s >= 500 || (s < 300 && !response.problem.empty());
  }
  [[noreturn]] void refuse(const Response& response, const std::string& what) const;
  void wait(const Response& response, int tries);
  void report(const std::string& note = "");
  std::string text(const std::string& url, std::string* next);
  void fetch_blob(const File& file, const fs::path& blobs);
  Response fetch_part(const File& file, Partial& partial, std::string& tag);

  const Settings& settings_;
  const std::string& name_;
  const Watch& watch_;
  Http http_;
  std::string commit_;
  Progress progress_;
};

void Puller::refuse(const Response& response, const std::string& what) const {
  const int s = response.status;
  if (s == 401 || s == 403) {
    throw Error(ErrorCode::kInput,
                fmt::format("[{}] expected leave to read {}, found status {}: {}",
                            name_,
                            what,
                            s,
                            settings_.token.empty()
                                ? "private or gated models want HF_TOKEN (or the name is wrong)"
                                : "HF_TOKEN does not open it (gated models want their terms "
                                  "accepted on the hub first)"));
  }
  if (s == 404) {
    throw Error(ErrorCode::kNotFound, fmt::format("[{}] expected {}, found none", name_, what));
  }
  throw Error(ErrorCode::kIo,
              fmt::format("[{}] expected {} from {}, found {}; the same command goes on from here",
                          name_,
                          what,
                          settings_.endpoint,
                          s == 0 || !response.problem.empty() ? response.problem
                                                              : fmt::format("status {}", s)));
}

void Puller::report(const std::string& note) {
  progress_.note = note;
  if (watch_) watch_(progress_);
}

// Longer each time, or as long as the server says.
void Puller::wait(const Response& response, int tries) {
  double seconds = settings_.patience_s * std::pow(2.0, tries);
  const std::string told = header(response, "retry-after");
  int whole = 0;
  const auto [stop, error] = std::from_chars(told.data(), told.data() + told.size(), whole);
  if (error == std::errc() && stop == told.data() + told.size() && whole >= 0) seconds = whole;
  seconds = std::min(seconds, kLongestWait_s);
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  const std::string why =
      response.problem.empty() ? fmt::format("status {}", response.status) : response.problem;
  while (Clock::now() < end) {
    report(why);
    std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(
        end - Clock::now(), std::chrono::milliseconds(200)));
  }
}

std::string Puller::text(const std::string& url, std::string* next) {
  constexpr std::size_t kLongest = std::size_t{64} << 20;
  for (int tries = 0;; ++tries) {
    std::string out;
    Request request;
    request.url = url;
    request.take = [&](std::string_view bytes) {
      if (out.size() + bytes.size() > kLongest) {
        throw Error(
            ErrorCode::kFormat,
            fmt::format("[{}] expected at most {} bytes of JSON, found more", name_, kLongest));
      }
      out += bytes;
    };
    request.idle = [&] { report(); };
    const Response response = http_.get(request);
    if (response.status == 200 && response.problem.empty()) {
      if (next != nullptr) {  // Link: <https://...>; rel="next"
        const std::string link = header(response, "link");
        const std::size_t end = link.find(">; rel=\"next\"");
        const std::size_t begin = end == link.npos ? end : link.rfind('<', end);
        *next = begin == link.npos ? std::string() : link.substr(begin + 1, end - begin - 1);
      }
      return out;
    }
    if (!is_transient(response) || tries + 1 >= kTries) refuse(response, "this model");
    wait(response, tries);
  }
}

Listing Puller::list(const std::string& revision) {
  const std::string api = settings_.endpoint + "/api/models/" + name_;
  const std::string about = text(api + "/revision/" + Http::escaped(revision, false), nullptr);
  Listing out;
  out.commit = json::require<std::string>(json::parse(about, name_), "sha", name_);
  if (!is_commit(out.commit)) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected a commit, found {}", name_, json::quote(out.commit)));
  }
  std::string url = api + "/tree/" + out.commit + "?recursive=true";
  constexpr std::size_t kPages = 1000;
  for (std::size_t page = 0; !url.empty(); ++page) {
    if (page == kPages)
      throw Error(ErrorCode::kFormat, fmt::format("[{}] expected a listing that ends", name_));
    std::string next;
    std::vector<File> some = parse_listing(text(url, &next), name_);
    out.files.insert(out.files.end(), some.begin(), some.end());
    url = next;
  }
  return out;
}

// Asks for what is missing of a file and appends what comes.
Response Puller::fetch_part(const File& file, Partial& partial, std::string& tag) {
  const std::uint64_t counted = progress_.done - progress_.file_done;
  Request request;
  request.url = fmt::format(
      "{}/{}/resolve/{}/{}", settings_.endpoint, name_, commit_, Http::escaped(file.path, true));
  request.offset = partial.size();
  request.unchanged = tag;
  request.begin = [&](const Response& response) {
    if (response.status == 206) {
      const std::string expected = fmt::format("bytes {}-", partial.size());
      if (!header(response, "content-range").starts_with(expected)) partial.restart();
      return header(response, "content-range").starts_with(expected);
    }
    if (response.status != 200) return false;
    partial.restart();  // all of it comes, whatever was asked for
    return true;
  };
  request.take = [&](std::string_view bytes) {
    if (bytes.size() > file.size - partial.size()) {
      partial.restart();
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[{}] expected {} bytes of {}, found more", name_, file.size, file.path));
    }
    partial.append(bytes);
    progress_.file_done = partial.size();
    progress_.done = counted + partial.size();
    progress_.fetched += bytes.size();
    report();
  };
  request.idle = [&] { report(); };
  Response response = http_.get(request);
  const std::string now = header(response, "etag");
  tag = now.starts_with('"') ? now : std::string();  // weak ones do not serve If-Range
  return response;
}

void Puller::fetch_blob(const File& file, const fs::path& blobs) {
  const fs::path blob = blobs / file.hash;
  const auto counted = progress_.done;
  progress_.file = &file;
  progress_.file_done = 0;
  std::error_code ignored;
  if (fs::is_regular_file(blob, ignored) && fs::file_size(blob, ignored) == file.size) {
    progress_.done = counted + file.size;
    report();
    return;
  }
  Partial partial(blobs / (file.hash + ".incomplete"), name_);
  if (partial.size() > file.size) partial.restart();
  bool fresh = partial.size() == 0;
  std::string tag;
  for (int tries = 0;;) {
    progress_.file_done = partial.size();
    progress_.done = counted + partial.size();
    report();
    if (partial.size() == file.size) {
      if (partial.hash(file.is_large) == file.hash) break;
      partial.restart();
      if (fresh) {
        throw Error(ErrorCode::kFormat,
                    fmt::format("[{}] expected {} {} of {}, found another: what came is not what "
                                "the hub lists",
                                name_,
                                file.is_large ? "SHA-256" : "git hash",
                                file.hash,
                                file.path));
      }
      fresh = true;  // what an earlier call had left was wrong
      continue;
    }
    partial.need_room(file.size);
    const std::uint64_t before = partial.size();
    const Response response = fetch_part(file, partial, tag);
    if (partial.size() == file.size) continue;
    if (response.status == 416) partial.restart();
    const bool again = is_transient(response) || response.status == 416 || response.status < 300;
    tries = partial.size() > before ? 0 : tries + 1;
    if (!again || tries >= kTries) {
      Response last = response;
      if (response.status < 300 && last.problem.empty()) {
        last.problem = fmt::format("{} of {} bytes", partial.size(), file.size);
      }
      refuse(last, file.path);
    }
    wait(response, tries);
  }
  partial.commit(blob);
}

Pulled Puller::fetch(const Listing& listing, const std::vector<File>& files) {
  const fs::path folder = folder_of(settings_, name_);
  commit_ = listing.commit;
  progress_ = {};
  for (const File& file : files) progress_.total += file.size;
  make_folders(folder / "blobs");
  for (const File& file : files) fetch_blob(file, folder / "blobs");
  const fs::path snapshot = folder / "snapshots" / listing.commit;
  for (const File& file : files) link_blob(snapshot, file);
  return {snapshot, listing.commit, files, progress_.fetched};
}

}  // namespace

bool can_pull() { return true; }

Pulled pull(const Settings& settings,
            const std::string& name,
            const PullOptions& options,
            const Watch& watch) {
  if (!is_name(name)) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("[pull] expected the name of a model, org/name, found {}", json::quote(name)));
  }
  if (!is_inside(options.revision)) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[pull] expected a branch, tag or commit, found {}",
                            json::quote(options.revision)));
  }
  if (settings.offline) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[{}] expected leave to use the net, found HF_HUB_OFFLINE", name));
  }
  Puller puller(settings, name, watch);
  const Listing listing = puller.list(options.revision);
  Pulled out = puller.fetch(listing, choose(listing, options.files, name));
  if (options.revision != listing.commit) {
    const fs::path ref = folder_of(settings, name) / "refs" / options.revision;
    make_folders(ref.parent_path());
    write_file(ref, listing.commit);
  }
  return out;
}

}  // namespace headscope::hub

#endif  // HEADSCOPE_HUB
