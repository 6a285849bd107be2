// All heads as a grid, coloured by measure: one file, nothing fetched.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/doctor.h"
#include "report/report_data.h"

namespace headscope::cli {

std::string html(std::string_view text) { return report::escape_html(clean(text)); }

namespace {

constexpr std::string_view kStyle = R"(<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1b1f;background:#fff}
table{border-collapse:separate;border-spacing:2px}th{font-weight:400;color:#555;font-size:12px;padding:0 .4rem}
td{min-width:3.2rem;height:1.7rem;text-align:center;font-size:12px;border-radius:3px}
td.label{outline:2px solid #b4540a;outline-offset:-2px}select{font:inherit;padding:.2rem .4rem}p{color:#555}
@media(prefers-color-scheme:dark){body{color:#e6e6ea;background:#16161a}p,th{color:#a5a5ad}}
</style>
)";

// Shows the chosen measure: shade from the least to the largest score of all heads.
constexpr std::string_view kScript = R"(<script>
const pick=document.querySelector('select'),note=document.querySelector('#note');
function show(){
 const cells=[...document.querySelectorAll('td')],m=+pick.value;
 const all=cells.map(c=>JSON.parse(c.dataset.s)[m]),real=all.filter(s=>s!==null).map(s=>s[0]);
 const low=Math.min(0,...real),high=Math.max(...real,1e-9);
 cells.forEach((c,i)=>{const s=all[i];c.classList.toggle('label',!!s&&s[3]===1);
  c.textContent=s===null?'':s[0].toFixed(2);
  const x=s===null?0:(s[0]-low)/(high-low||1);
  c.style.background=s===null?'none':`hsl(215 80% ${96-58*Math.sqrt(x)}%)`;c.style.color=x>.35?'#fff':'#1b1b1f';
  c.title=s===null?c.dataset.h:`${c.dataset.h}: ${s[0].toFixed(4)} (${s[1]===null?'':`${note.dataset.base} ${s[1].toFixed(4)}, `}n ${s[2]})`;});
}
pick.onchange=show;show();
</script>
)";

// [[score, baseline or null, n, label], null, ...] in the order of measures, then of relations.
std::string scores_of(const doctor::HeadRoles& head, const doctor::Syntax& syntax) {
  std::string out = "[";
  for (const doctor::MeasureFacts& facts : doctor::kMeasureFacts) {
    const doctor::Score& s = head.of(facts.measure);
    if (out.size() > 1) out += ',';
    out += std::isnan(s.score)
               ? std::string("null")
               : fmt::format("[{:.5g},{},{},{}]",
                             s.score,
                             doctor::has_baseline(facts.measure) ? fmt::format("{:.5g}", s.baseline)
                                                                 : std::string("null"),
                             s.n,
                             s.label ? 1 : 0);
  }
  for (const doctor::Edges& edges : syntax.edges) {
    const bool seen = edges.n > 0 && seen_by(syntax, head.id);
    const std::size_t place = seen ? syntax.place(head.id.layer, head.id.head) : 0;
    out += !seen ? std::string(",null")
                 : fmt::format(",[{:.5g},{:.5g},{},{}]",
                               edges.accuracy(place),
                               edges.baseline(),
                               edges.n,
                               edges.named(place) ? 1 : 0);
  }
  return out + "]";
}

}  // namespace

std::string roles_page(const Model& model,
                       const Corpus& corpus,
                       std::span<const doctor::HeadRoles> roles,
                       const doctor::Syntax& syntax,
                       Lang lang) {
  const std::string title = std::string(text(lang, Word::kRolesTitle));
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"{}\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{} · {}</title>\n",
      lang == Lang::kRu ? "ru" : "en",
      html(model.name()),
      html(title));
  out += kStyle;
  out += fmt::format("<h1>{} · {}</h1>\n<label>{} <select>", html(model.name()), html(title), "");
  for (std::size_t m = 0; m < doctor::kMeasures; ++m) {
    out += fmt::format("<option value=\"{}\">{}</option>",
                       m,
                       html(text(lang, word_of(doctor::kMeasureFacts[m].measure))));
  }
  for (std::size_t e = 0; e < syntax.edges.size(); ++e) {
    out += fmt::format("<option value=\"{}\">{}</option>",
                       doctor::kMeasures + e,
                       html(relation_name(syntax.edges[e], lang)));
  }
  out += fmt::format("</select></label>\n<p id=\"note\" data-base=\"{}\">{}</p>\n<table>",
                     lang == Lang::kRu ? "база" : "baseline",
                     html(say(lang, Word::kRolesNote, corpus.about(lang))));
  int layer = -1;
  for (const doctor::HeadRoles& head : roles) {
    if (head.id.layer != layer) {
      layer = head.id.layer;
      out += fmt::format("\n<tr><th>{}</th>", html(model.layer_name(layer)));
    }
    out += fmt::format(
        "<td data-h=\"{}\" data-s=\"{}\"></td>", head.id.name(), scores_of(head, syntax));
  }
  out += "\n</table>\n";
  out += kScript;
  return out + "</html>\n";
}

}  // namespace headscope::cli
