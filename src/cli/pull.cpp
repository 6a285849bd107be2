#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "formats/hub.h"
#include "headscope/error.h"

/// `headscope pull`: a model from the Hugging Face hub into its cache.
namespace headscope::cli {

namespace {
using Clock = std::chrono::steady_clock;

// One line on standard error, at most a few times a second: what comes, how much of all, how fast
// and how long it will take.
class Bar {
 public:
  Bar(Lang lang, const std::string& name) : lang_(lang), progress_(lang, name) {}

  void show(const hub::Progress& now) {
    const auto time = Clock::now();
    if (time < next_) return;
    next_ = time + std::chrono::milliseconds(250);
    progress_.now(line(now, std::chrono::duration<double>(time - start_).count()));
  }

 private:
  [[nodiscard]] std::string line(const hub::Progress& now, double seconds) const {
    if (now.total == 0) return say(lang_, Word::kPullListing);
    if (!now.note.empty()) return say(lang_, Word::kPullWaiting, clip(clean(now.note), 40));
    const double part = static_cast<double>(now.done) / static_cast<double>(now.total);
    const double rate = seconds > 0.0 ? static_cast<double>(now.fetched) / seconds : 0.0;
    std::string out = fmt::format("{} {:.0f} % {}", bar(part, 12), 100.0 * part, bytes(now.total));
    if (rate > 0.0) {
      const double left = static_cast<double>(now.total - now.done) / rate;
      out += say(
          lang_, Word::kPullRate, bytes(static_cast<std::uint64_t>(rate)), duration(lang_, left));
    }
    return out;
  }

  Lang lang_;
  Progress progress_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_;
};

void write_json(std::string& out, const std::string& name, const hub::Pulled& pulled) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "pull");
  json.field("model", name).field("commit", pulled.commit);
  json.field("folder", pulled.folder.string()).field("fetched_bytes", pulled.fetched);
  json.key("files").begin_array();
  for (const hub::File& file : pulled.files) {
    json.begin_object().field("path", file.path).field("bytes", file.size);
    json.field(file.is_large ? "sha256" : "git_sha1", file.hash).end_object();
  }
  json.end_array().end_object();
  out += std::move(json).take();
}
}  // namespace

int pull(std::span<const std::string> arguments, Lang lang, std::string& out) {
  std::vector<std::string> names;
  hub::PullOptions options;
  Parser parser("pull", lang);
  parser.positionals(names);
  parser.repeated("--file", options.files);
  parser.option("--revision", options.revision);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpPull);
    return 0;
  }
  if (names.size() != 1) {
    throw Error(ErrorCode::kUsage,
                say(lang,
                    Word::kPullNeedsName,
                    names.empty() ? std::string("-") : std::to_string(names.size())));
  }
  Bar bar(lang, clean(names[0]));
  const hub::Pulled pulled = hub::pull(
      hub::Settings::from_environment(), names[0], options, [&](const hub::Progress& now) {
        bar.show(now);
      });
  if (call.json) {
    write_json(out, names[0], pulled);
    return 0;
  }
  std::uint64_t total = 0;
  for (const hub::File& file : pulled.files) {
    total += file.size;
    out +=
        "  " + left(bytes(file.size), 10) + clip(clean(file.path), call.screen.width - 12) + '\n';
  }
  out += say(lang,
             Word::kPulled,
             paint(call.screen, Paint::kTitle, names[0]),
             bytes(total),
             bytes(pulled.fetched)) +
         "\n  " + clean(pulled.folder.string()) + '\n';
  return 0;
}

}  // namespace headscope::cli
