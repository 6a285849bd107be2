#include "cli/kept.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <zlib.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "cli/experiment.h"
#include "cli/signals.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "models/find.h"

namespace headscope::cli {

KeptLines::KeptLines(std::string file,
                     std::string verb,
                     const std::string& experiment,
                     const Read& read)
    : file_(std::move(file)),
      verb_(std::move(verb)),
      held_(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (held_.get() < 0) {
    throw Error(
        ErrorCode::kIo,
        fmt::format(
            "[{}] expected to write {}, found: {}", verb_, clean(file_), std::strerror(errno)));
  }
  // Two programs would do the same work twice, and cut off each other's lines.
  if (::flock(held_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw Error(ErrorCode::kResources,
                fmt::format("[{}] expected {} for one program alone, found it in use by another",
                            verb_,
                            clean(file_)));
  }
  const std::string all = read_file(file_, std::size_t{1} << 30);
  const json::Value first{{"experiment", experiment}};
  // A first line that was cut short is no more than an empty file.
  if (all.find('\n') == all.npos && first.dump().starts_with(all)) {
    cut(0);
    add(first);
  } else {
    read_all(all, experiment, read);
  }
}

void KeptLines::read_all(std::string_view all,
                         const std::string& experiment,
                         const Read& read) const {
  std::size_t end = all.find('\n');
  // What is no file of results stays as it is.
  const json::Value first = json::parse(all.substr(0, end), file_);
  const auto found = json::require<std::string>(first, "experiment", file_);
  if (found != experiment) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[{}] expected {} to hold results of {}, found those of {}",
                            verb_,
                            clean(file_),
                            experiment,
                            clean(found)));
  }
  for (std::size_t at = end == all.npos ? end : end + 1; at < all.size(); at = end + 1) {
    end = all.find('\n', at);
    if (end == all.npos) {
      cut(at);
      return;
    }
    read(json::parse(all.substr(at, end - at), file_));
  }
}

void KeptLines::cut(std::size_t bytes) const {
  const Writing writing;
  std::error_code error;
  std::filesystem::resize_file(file_, bytes, error);
  if (error)
    throw Error(
        ErrorCode::kIo,
        fmt::format("[{}] expected to write {}, found: {}", verb_, clean(file_), error.message()));
}

void KeptLines::add(const json::Value& line) const {
  const Writing writing;
  std::ofstream out(file_, std::ios::app | std::ios::binary);
  if (!(out << line.dump() << '\n' << std::flush))
    throw Error(ErrorCode::kIo, fmt::format("[{}] expected to write {}", verb_, clean(file_)));
}

namespace {

uLong sum_of(uLong before, const void* data, std::size_t bytes) {
  return crc32_z(before, static_cast<const Bytef*>(data), bytes);
}

// Of config.json and of the words as the model reads them: what figures depend on besides weights and text.
std::string reading_of(const std::string& model, const Corpus& corpus) {
  const models::Place place = models::find(model);
  uLong sum = 0;
  if (place.config.extension() == ".json" && std::filesystem::exists(place.config)) {
    const std::string config = read_file(place.config, std::size_t{16} << 20);
    sum = sum_of(sum, config.data(), config.size());
  }
  for (const Tokens& piece : corpus.pieces) sum = sum_of(sum, piece.ids.raw(), piece.ids.bytes());
  return fmt::format("config and ids crc32 {:08x}", sum);
}

}  // namespace

std::string experiment_of(const std::string& model, const Corpus& corpus, std::string_view wishes) {
  const std::string data =
      corpus.text.empty() ? std::string("built-in sentences")
                          : fmt::format("{} bytes of data, crc32 {:08x}",
                                        corpus.text.size(),
                                        crc32(0,
                                              reinterpret_cast<const Bytef*>(corpus.text.data()),
                                              static_cast<uInt>(corpus.text.size())));
  return fmt::format("headscope " HEADSCOPE_VERSION ", {}, {}, {} pieces, {} tokens, {}{}{}",
                     weights_of(model),
                     data,
                     corpus.pieces.size(),
                     corpus.tokens,
                     reading_of(model, corpus),
                     wishes.empty() ? "" : ", ",
                     wishes);
}

double number_of(const json::Value& value) {
  return value.is_number() ? value.get<double>() : std::nan("");
}

KeptParts::KeptParts(const std::string& file, std::string verb, const std::string& experiment)
    : file_(file), lines_(file, std::move(verb), experiment, [this](const json::Value& line) {
        std::vector<double> numbers;
        for (const json::Value& one : json::require<json::Value>(line, "numbers", file_))
          numbers.push_back(number_of(one));
        parts_.emplace(json::require<std::size_t>(line, "part", file_), std::move(numbers));
      }) {}

std::span<const double> KeptParts::find(std::size_t part, std::size_t count) const {
  const auto found = parts_.find(part);
  if (found == parts_.end()) return {};
  if (found->second.size() != count) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} numbers of part {}, found {}",
                            clean(file_),
                            count,
                            part,
                            found->second.size()));
  }
  return found->second;
}

void KeptParts::add(std::size_t part, std::span<const double> numbers) {
  std::vector<double> own(numbers.begin(), numbers.end());
  lines_.add(json::Value{{"part", part}, {"numbers", own}});
  parts_.emplace(part, std::move(own));
}

}  // namespace headscope::cli
