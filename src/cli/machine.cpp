#include <oneapi/dnnl/dnnl.h>

#include <cstdlib>
#include <thread>

#include "cli/app.h"
#include "cli/arguments.h"
#include "cli/json_writer.h"
#include "headscope/error.h"
#include "headscope/threads.h"
#include "kernels/isa.h"

/// `headscope cpu`: what this machine can do and what was chosen.
namespace headscope::cli {

namespace {
std::string version_of_onednn() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

std::string chosen_by() {
  const char* forced = std::getenv("HEADSCOPE_ISA");
  return forced == nullptr ? "" : clean(forced);
}

std::string cpu_json(const std::vector<kernels::Isa>& sets) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "cpu");
  json.key("instruction_sets").begin_array();
  for (const auto& isa : sets) {
    json.begin_object().field("name", isa.name).field("available", isa.available);
    json.field("chosen", isa.chosen).field("why", isa.why).end_object();
  }
  json.end_array().field("HEADSCOPE_ISA", chosen_by());
  json.field("threads", threads()).field("cores", std::thread::hardware_concurrency());
  json.field("onednn", version_of_onednn()).end_object();
  return std::move(json).take();
}
}  // namespace

int cpu(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Parser parser("cpu", lang);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpCpu);
    return 0;
  }
  const auto sets = kernels::list();
  if (call.json) {
    out += cpu_json(sets);
    return 0;
  }
  out += paint(call.screen, Paint::kTitle, text(lang, Word::kInstructionSets)) + '\n';
  for (const auto& isa : sets) {
    const Word state =
        isa.chosen ? Word::kChosen : (isa.available ? Word::kAvailable : Word::kAbsent);
    const std::string begin = "  " + left(isa.name, 18) + left(text(lang, state), 11);
    out += begin + wrap(isa.why, call.screen.width, columns(begin)) + '\n';
  }
  const std::string forced = chosen_by();
  out += wrap(forced.empty() ? say(lang, Word::kIsaAuto) : say(lang, Word::kIsaForced, forced),
              call.screen.width,
              2) +
         '\n';
  out += say(lang, Word::kThreadsLine, threads(), std::thread::hardware_concurrency()) + '\n';
  out += "oneDNN " + version_of_onednn() + '\n';
  return 0;
}

}  // namespace headscope::cli
