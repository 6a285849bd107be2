#!/usr/bin/env python3
"""Writes jinja_cases.json: small templates and what Jinja2 makes of them, set up as in Transformers.

make_jinja_cases.py > jinja_cases.json     needs jinja2 3.1

A case is [template, text], or [template, null] where Jinja2 refuses. Left out is what only an
interpreter in Python can print (addresses) or tell apart (generators, views and ranges from lists).
"""
import datetime
import json
import sys

import jinja2.ext
import jinja2.sandbox
from jinja2 import nodes


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = datetime.datetime(2024, 7, 26, 12, 0, 0).strftime
    return env


VARIABLES = {
    'x': 5,
    'y': -7,
    'f': 2.5,
    's': 'Hello World',
    'u': 'Привет мир 🙂 ß ǆ',
    'l': [3, 1, 2],
    'd': {'b': 1, 'a': [1, 2, {'k': 'v'}], 'items': 'mine'},
    'n': None,
    't': True,
    'e': '',
    'msgs': [{'role': 'user', 'content': ' hi '}, {'role': 'assistant', 'content': 'yo', 'tool_calls': [{'name': 'f', 'arguments': {'a': 1}}]}],
    'users': [{'name': 'Bob', 'city': 'NY', 'age': 3}, {'name': 'al', 'city': 'ny', 'age': 2}, {'name': 'Cy', 'city': 'LA', 'age': 3}],
    'h': '<a href=\'x\'>&"',
    'ws': ' \t\n a b  c \n',
    'tree': [{'n': 'a', 'c': [{'n': 'b', 'c': []}, {'n': 'c', 'c': [{'n': 'd', 'c': []}]}]}, {'n': 'e', 'c': []}],
}

# Separated by ; and line ends.
EXPRESSIONS = r"""
x+1;x-8;x*3;x/2;x//2;y//2;y%3;x%-3;-x**2;2**3**2;x~y;1+2~3*4;x==5;x!=5.0;1<x<10;1<x>9;not x;not x==5;x and y;e or 'z';n or 0;x in l;3 in l;'H' in s;'zz' not in s;'b' in d;x if t else y;x if not t;(x if e else y);-x|abs;(-7)|abs;y|abs;-y;+x;f*2;f//1;f%2;1e3;1.5e-7;1_000;0x1F;0b101;0o17;1/3;10/5;2**-1;1e16;123456789.123;0.1+0.2;1e22;true;True;none;None;false
l[0];l[-1];l[5];l[0:2];l[::-1];l[1:];l[:-1];l[-100:100];s[0];s[-1];s[2:5];s[::-1];s[::2];s[10:2:-3];u[0];u[3:8];u[::-1];s[100];l[true];d.b;d['a'];d.a[2].k;d['zz'];d.zz;d['items'];d.get('b');d.get('q');d.get('q',7);d|items|list;d|length;d|list;msgs[0].role;msgs[-1]['tool_calls'][0].arguments.a;msgs.0.role
zz;zz.a;zz|default('q');e|default('q');e|default('q',true);e|d('q',boolean=true);n|default('q');zz is defined;x is defined;d.q is defined;d.q.r is defined;zz is undefined;n is none;x is none;x is number;s is string;d is mapping;l is iterable;s is iterable;x is iterable;l is sequence;d is sequence;t is boolean;t is true;x is true;x is integer;f is float;t is integer;x is odd;x is even;x is divisibleby 5;x is divisibleby(2);x is eq 5;x is equalto(5);x is ne 5;x is gt 4;x is lt 4;x is ge 5;x is le 5;x is in [5];x is in l;x is not none;x is not defined;s is lower;s is upper;s is callable;x is sameas 5;t is sameas true;x is sameas true;range is callable;x is defined and y is defined;x is string or y;zz is iterable;zz is sequence;zz is mapping;zz is string
s|upper;s|lower;s|length;u|length;u|upper;u|lower;u|title;u|capitalize;s|title;'foo-bar (baz) qux'|title;s|capitalize;ws|trim;ws.strip();ws.lstrip();ws.rstrip();s.strip('Hd');s.lstrip('Hel');s.rstrip('dl');s|trim('Hd');s|replace('o','0');s|replace('o','0',1);s.replace('l','');s.replace('','-');s.replace('l','L',2);s.split();s.split('o');s.split('o',1);ws.split();ws.split(none,1);s.rsplit('o',1);ws.rsplit(none,1);'a\nb\r\nc'.splitlines();'a\nb'.splitlines(true);s.startswith('He');s.endswith('ld');s.startswith(('x','H'));s.upper();s.lower();s.title();"they're bill's".title();s.capitalize();u.title();u.upper();s.find('o');s.rfind('o');s.index('W');s.count('l');s.find('q');s.find('o',5);s.isdigit();'12'.isdigit();'ab'.isalpha();' '.isspace();'Ab'.isupper();'AB'.isupper();'a1'.isalnum();s.removeprefix('He');s.removesuffix('ld');s.partition(' ');s.rpartition('o');s.partition('q');','.join(['a','b']);','.join(s);s.zfill(15);'-5'.zfill(5);s.ljust(15)~'|';s.rjust(15,'*');s.center(20,'.');s.center(16);'ab'.center(5,'x');'abc'.center(6,'x');'{} {0}'.format(1);'{} {}'.format(1,'a');'{a}'.format(a=3);'{{}}'.format();'%s-%d'|format('a',3);'%s is %05.2f'%('a',f);'%d%%'%x;'%5s|%-5s|'%('a','b');'%x'%255;'%r'%'a'
l|join;l|join(', ');l|sum;l|sort;l|sort(reverse=true);l|reverse|list;s|reverse;l|first;l|last;[]|first;[]|last;l|min;l|max;l|list;s|list;u|list;l|length;l|count;l|string;[1,2,'a',none,true,2.0,"it's",'q"q',(1,),(1,2),{}]|string;d|string;u|string;[u]|string;['\t\n\\\x00\x7f\u00a0']|string;"'"~'"';["'\""]|string;l|map('string')|list;l|map('string')|join('-');users|map(attribute='name')|list;users|map(attribute='name')|join(',');users|map(attribute='zz',default='-')|list;msgs|map(attribute='tool_calls.0.name',default='none')|list;users|selectattr('age','equalto',3)|map(attribute='name')|list;users|selectattr('age')|list|length;users|rejectattr('age','eq',3)|list;l|select('odd')|list;l|reject('odd')|list;l|select('>',1)|list;l|select|list;[0,1,'']|reject|list;users|sort(attribute='name')|map(attribute='name')|list;users|sort(attribute='age,name')|map(attribute='name')|list;users|sort(attribute='name',case_sensitive=true)|map(attribute='name')|list;users|groupby('city')|list|length;users|map(attribute='city')|unique|list;['a','A','b']|unique|list;['b','A','c']|sort;['b','A','c']|min;['b','A','c']|sort(case_sensitive=true);d|dictsort;{'B':1,'a':2}|dictsort;{'B':1,'a':2}|dictsort(true);{'B':2,'a':1}|dictsort(by='value');{'B':2,'a':1}|dictsort(false,'value',true);range(5)|batch(2)|list;range(5)|batch(2,'x')|list;range(7)|slice(3)|list;range(7)|slice(3,'x')|list;users|sum(attribute='age');range(3)|list;range(1,4)|list;range(5,0,-2)|list;range(0)|list
d|tojson;d|tojson(indent=2);[]|tojson;{}|tojson(indent=4);[1,[],{}]|tojson(indent=2);u|tojson;u|tojson(ensure_ascii=true);'a"\\\n\t\x01/'|tojson;d|tojson(separators=(',',':'));{'b':1,'a':2}|tojson(sort_keys=true);{1:2,none:3,true:4}|tojson;1.0|tojson;1e20|tojson;n|tojson;t|tojson;(1,2)|tojson;zz|tojson;d|tojson(indent='--');h|tojson;h|e;h|escape;h|safe;[1.5,2]|tojson;'\x7f\x85\u2028'|tojson
'42'|int;'42.7'|int;'x'|int;'x'|int(5);f|int;'0x1f'|int(0,16);' 12 '|int;'1_0'|int;''|int;n|int;t|int;'-3'|int;'2.5'|float;'x'|float;'x'|float(1.5);x|float;2.5|round;3.5|round;2.567|round(2);2.5|round|int;2.1|round(0,'ceil');2.9|round(method='floor');5|round;5|round(-1);1234.5|round(-2);'abc'|indent;'a\nb\n\nc'|indent(2);'a\nb'|indent(2,true);'a\n\nb'|indent(2,blank=true);'a\nb'|indent('>>');'foo bar baz qux'|truncate(9);'foo bar baz qux'|truncate(9,true);'foo bar baz qux'|truncate(11);s|wordcount;s|center(21);'a b&c/d'|urlencode;u|urlencode;'a'*3;3*'ab';[1]*2;[1]+[2];(1,)+(2,);'a'+'b';'a' 'b';"a" ~ 1 ~ none ~ true
'a'+1;1+'a';l+(1,);n+1;zz+1;'a'<1;n<1;l<1;d<d;[1,2]<[1,3];'a'<'b';'a'<'B';1==1.0;true==1;true+1;[1]==[1.0];(1,)==[1];{}=={};n==false;zz==none;zz==zz2;zz==e;1/0;1%0;1//0;s.nope();s.nope;x.nope;x();s();zz();x|nope;x is nope;l.append(3);d.update({});d.pop('b');''.__class__.__mro__;int('3');dict(a=1,b=2);dict([('a',1)]);namespace(a=1).a;range(200000)|length;raise_exception('no');strftime_now('%Y-%m-%d');strftime_now('%d %B %Y');{'a':1}['a'];{'a':1}.a;{1:2}[1];{(1,2):3}[(1,2)];{[1]:2};[1,2,];{'a':1,};(1);(1,);();loop;'abc'[1:2:0];l['a'];d[0];x[0];[[1,2],[3]]|sum(start=[]);l|map('nope')|list;x is x;not not x;x is not odd;not x is odd;x|string|length;x|abs|string;-5|abs;'%s'%zz;'%d'%'a';'%d %d'%(1,);'%s'%(1,2);'a\x41\u0042\101\q';1.5.x;1 if;x if 1 else;1 2;'unterminated;x y;x.;x[;x[1;(1;[1;{1};{1:;x|;x is;x~;@;$;x ! y;x = 1;x; ;1,2;x,;not;x not y;x not in;in l;and;lambda;x.1.2;l.0;l.5
u.isalpha();'é'.isalpha();'ǆ'.title();'ß'.upper();'ß'.title();'ﬁx'.title();'İ'.lower();'ΣΑΣ'.lower();'x\u0301y'.title();'１２'.isdigit();'²'.isdigit();'a_b'.title();'1a b2c'.title();'hello world'.split(' ')[0];'a,b,,c'.split(',');''.split(',');''.split();'abc'.split('');s.split(maxsplit=1);'\u3000a\u3000'.strip();'\x1ca'.strip()|length;x is defined is true;l[1:2] is defined;s is in ['Hello World'];users[0].name.upper()[0];(users|first).name;users|first.name;(l|sort)[0];l|sort|first;[l,l]|tojson;(range(3)|list)|tojson;d.items()|list|tojson;d.items()|length;d.keys()|list|tojson;d.values()|list;d|dictsort|list|length;1 if x==5 else 2 if x==6 else 3;x==5 and y==-7 or z;[x,y]|max;caller;varargs;true|string;n|string;n|upper;n|length;n|join;n|trim;x|trim;x|upper;x|length;x|join;l|upper;l|trim;l|replace('1','9');x|replace(5,6);s|replace('o',0);d|join(',');d|first;d|last;s|first;s|last;s|join('-');e|first;zz|first;zz|length;zz|upper;zz|join;zz|list;zz|trim;zz|int;zz|float;zz|sum;zz|sort;zz|map('upper')|list;zz|tojson;zz|string;zz|replace('a','b');zz|items|list;zz|abs;zz|round;zz[0];zz.x.y;zz in l;1 in zz;zz<1;-zz;zz~'a';[zz];[zz]|string;[zz]|join;zz is none;not zz;zz or 1;zz and 1;zz if x;(zz if zz else 3);(3 if zz)~'';(3 if zz).x
""".strip("\n")

TEMPLATES = [
    '{% for i in l %}{{ i }},{% endfor %}',
    '{% for i in l %}\n  {{ i }}\n{% endfor %}\nend\n',
    'a\n  {% if x %}\n  b\n  {% endif %}\n  c\n\n',
    'a\n  {%+ if x %}\n  b\n  {%- endif +%}\n  c',
    '  {{ x }}  \n  {{- x -}}  \n y',
    '{# c #}\nx {#- d -#} y\n  {# e #}\n z',
    'x\n\n{%- if true -%}\n\n y \n\n{%- endif -%}\n\nz',
    "{% for i in l if i > 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ ', ' if not loop.last }}{% endfor %}",
    '{% for i in [] %}x{% else %}empty{% endfor %}',
    '{% for i in l if i > 5 %}x{% else %}none{% endfor %}',
    '{% for k, v in d.items() %}{{k}}={{v}};{% endfor %}',
    '{% for k in d %}{{k}}{% endfor %}',
    '{% for c in s %}<{{c}}>{% endfor %}',
    "{% for i in l %}{{loop.index0}}{{loop.revindex}}{{loop.revindex0}}{{loop.first}}{{loop.last}}{{loop.previtem}}{{loop.nextitem}}{{loop.cycle('a','b')}}{{loop.depth}}|{% endfor %}",
    "{% for i in [1,1,2,2,1] %}{{ 'c' if loop.changed(i) }}{{i}}{% endfor %}",
    '{% for i in l %}{% for j in l %}{{loop.index}}{{i}}{{loop.depth}} {% endfor %}{{loop.index}}{% endfor %}',
    '{% for n in tree recursive %}{{n.n}}{{loop.depth}}{% if n.c %}[{{ loop(n.c) }}]{% endif %}{% endfor %}',
    '{% for i in l %}{% if i == 2 %}{% continue %}{% endif %}{{i}}{% endfor %}',
    '{% for i in l %}{% if i == 2 %}{% break %}{% endif %}{{i}}{% endfor %}',
    '{% set y = 1 %}{% for i in l %}{{y}}{% set y = y + 1 %}{{y}}{% endfor %}{{y}}',
    "{% set ns = namespace(y=1, z='q') %}{% for i in l %}{% set ns.y = ns.y + i %}{% endfor %}{{ns.y}}{{ns.z}}{{ns.w is defined}}{{ns.y}}",
    '{% if x == 1 %}a{% elif x == 5 %}b{% elif x == 6 %}c{% else %}d{% endif %}',
    '{% if x != 5 %}a{% elif x == 6 %}b{% else %}d{% endif %}',
    '{% if false %}{% set q = 1 %}{% endif %}{{ q is defined }}',
    '{% if true %}{% set q = 1 %}{% endif %}{{ q }}',
    '{% set a, b = 1, 2 %}{{a}}{{b}}',
    '{% set a, b = [1] %}{{a}}',
    '{% set (a, (b, c)) = (1, (2, 3)) %}{{a}}{{b}}{{c}}',
    '{% set a = 1, 2 %}{{a}}',
    '{% set t %}\n hello {{ x }} \n{% endset %}[{{ t }}]',
    '{% set t | trim | upper %} hello {{ x }} {% endset %}[{{ t }}]',
    '{% macro m(a, b=2, c=none) %}{{a}}-{{b}}-{{c}};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}{{ m(1,2,3) }}',
    '{% macro m(a) %}{{a}}{% endmacro %}{{ m(1,2) }}',
    '{% macro m(a) %}{{a}}{{varargs}}{{kwargs}}{% endmacro %}{{ m(1,2,q=3) }}',
    '{% macro m(a) %}{{a}}{% endmacro %}{{ m(1,q=2) }}',
    '{% macro m(a) %}{{a}}{% endmacro %}{{ m(1,a=2) }}',
    '{% macro m(a, b=a) %}{{a}}{{b}}{% endmacro %}{{ m(1) }}',
    '{% set g = 1 %}{% macro m() %}{{g}}{% endmacro %}{{ m() }}{% set g = 2 %}{{ m() }}',
    '{% macro f(n) %}{% if n > 0 %}{{n}}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(5) }}',
    '{% macro m() %}{{ x }}{% set x = 3 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}',
    "{% macro m(t) %}<{{t}}>{{ caller() }}</{{t}}>{% endmacro %}{% call m('b') %}in {{x}}{% endcall %}",
    '{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{a}}+{{b}}{% endcall %}',
    '{% macro m() %}x{% endmacro %}{% call m() %}in{% endcall %}',
    '{% macro m() %}{% for i in l %}{{ i }}{% endfor %}{% endmacro %}{{ m() | length }}{{ m.name }}',
    '{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}',
    '{% filter upper %}abc {{ s }}{% endfilter %}',
    "{% filter replace('a','b') | upper %}abca{% endfilter %}",
    '{% with a = 1, b = 2 %}{{a}}{{b}}{% endwith %}{{ a }}',
    '{% with %}{% set z = 3 %}{{z}}{% endwith %}{{ z }}',
    '{% with a = 1, b = a %}{{b}}{% endwith %}',
    '{% generation %}abc {{ x }}{% set q = 1 %}{% endgeneration %}{{ q }}',
    '{% generation %}\nabc\n{% endgeneration %}\n',
    '{% raw %}{{ x }}{% endraw %}',
    '{%- raw -%} {{ x }} {%- endraw -%} y',
    '{% raw %}\n{% if %}\n{% endraw %}\nz',
    'a\n  {% raw %}\n b {% endraw %}',
    '{{ \'}}\' }}{{ "%}" }}{{ {\'a\':{\'b\':1}}[\'a\'] }}',
    '{{ x }}}',
    '{ { x } }',
    '{',
    '{{',
    '{%',
    '{% if %}',
    '{% endif %}',
    '{% if x %}',
    '{% for %}',
    '{% for x %}{% endfor %}',
    '{% for i in l %}',
    '{% foo %}',
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    '{% do x %}',
    '{% set 1 = 2 %}',
    '{% set true = 2 %}',
    '{% set x.y = 2 %}',
    '{% set x = %}',
    '{% break %}',
    '{% else %}',
    '{% macro m(a=1, b) %}{% endmacro %}',
    '{{ x.y.z }}',
    '{{ }}',
    '{{ x',
    '{% for i in x %}{% endfor %}',
    '{% for a, b in l %}{% endfor %}',
    '{% for i in none %}{% endfor %}',
    '{% for i in zz %}x{% else %}e{% endfor %}',
    'a\r\nb\rc\n{{ x }}\r\n',
    '\n',
    '\n\n',
    '',
    '{% if x %}\n\n{% endif %}\n\n',
    'a {% if x %} b {% endif %} c',
    'a\n {% if x %} b\n {% endif %} c\n {{ x }}\n {# c #} d',
    "{% for m in msgs %}{{ '<|' + m['role'] + '|>\n' + m.content + '\n' }}{% endfor %}",
    '{% for m in msgs[1:] %}{{ m.role }}{% endfor %}',
    '{% for m in msgs|reverse %}{{ m.role }}{% endfor %}',
    '{% for m in messages %}{{ m }}{% endfor %}',
    '{% set ns = namespace() %}{% set ns.a = [] %}{% for i in l %}{% set ns.a = ns.a + [i*2] %}{% endfor %}{{ ns.a }}',
    "{% set ns = namespace(d={}) %}{% set ns.d = dict(ns.d, **{'a': 1}) %}{{ ns.d }}",
    '{{ dict(d, c=3) }}',
    '{% set l2 = l + [4] %}{{ l2 }}{{ l2 | length }}',
    '{%set x=1%}{{x}}{%if x%}y{%endif%}',
    '{%- set x = 1 -%}\n\n {{- x -}} \n',
    '{% set x = 1 %}\n\n{{ x }}',
    '{% if x is defined and x is not none and x|length > 2 %}q{% endif %}',
    "{% if s is string and 'a' in s %}q{% endif %}",
    "{% set loop_messages = msgs %}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{{ m.content | trim }}{% endfor %}",
    "{%- for m in msgs -%}\n  {%- if m.role == 'user' -%}\n    U: {{ m.content }}\n  {%- else -%}\n    A: {{ m.content }}\n  {%- endif -%}\n{%- endfor -%}",
    "{{ msgs | map(attribute='content') | join(' / ') }}",
    "{% set f = 'upper' %}{{ l|map('string')|map('upper')|join }}",
    "{{ (msgs|selectattr('role','equalto','user')|list)[0].content }}",
    "{{ (msgs|selectattr('role','in',['user','x'])|list)|length }}",
    '{% for i in range(3) %}{{ i }}{% endfor %}',
    '{% for i in range(3) %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}',
    '{% for x in l %}{{ x }}{% endfor %}{{ x }}',
    '{% for i in l %}{% set x = i %}{% endfor %}{{ x }}',
    '{% for i in l %}{% if loop.first %}{% set q = 1 %}{% endif %}{{ q }}{% endfor %}',
    "{{ strftime_now('%d %b %Y') }}",
    "{{ raise_exception('bad ' ~ x) }}",
    "{% set a = {'x': [1, {'y': 2}]} %}{{ a.x[1].y }}",
    '{{ x if x > 3 }}',
    "{{ 'a' if x > 9 }}|",
    "{{ ('a' if x > 9) is defined }}",
    '{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}',
    '{% macro a(x) %}{% macro b(y) %}{{x}}{{y}}{% endmacro %}{{ b(2) }}{% endmacro %}{{ a(1) }}',
    '{% set f = namespace(m=none) %}{% macro q() %}Q{% endmacro %}{% set f.m = q %}{{ f.m() }}',
    '{% for i in l %}{{ i }}{% set l = [9] %}{% endfor %}{{ l }}',
    '{% for i in l -%}\n {{ i }}\n{%- endfor %}',
    '{% for i in l %}  \n {{ i }}\n{% endfor %}x',
    '{% if true %}\n    {{ x }}\n{% endif %}',
    '   {% if true %}a{% endif %}\n   b',
    'a{{ x }}\n{{ x }}\n',
    '\t{% if x %}\t\nq\t{% endif %}\t\n',
    '{% for i in l %}{% filter upper %}{% if i == 2 %}a{% endif %}{{ i }}{% endfilter %}{% endfor %}',
    "{% set x = 'a' 'b' %}{{ x }}",
    '{{ "a\\"b" }}{{ \'a\\\'b\' }}{{ \'a\\\nb\' }}{{ \'a\nb\' }}',
    '{%if x==5%}a{%else%}b{%endif%}',
    '{{x}}{{-x}}{{ -x }}{{+x}}',
    '{{ x -}} {{- x }}',
    '{{ [1,2,3][-1] -}} z',
    '{{ x - 1 }}{{ x -1 }}',
    '{# {{ x }} #}{#- a #}b{# unclosed',
    '{#}#}',
    '{#-#}a',
    '{%  if   x  %}y{%  endif  %}',
    '{%\nif x\n%}\ny{%\nendif\n%}',
    '{% if x %}{# c #}{% endif %}a',
    '{% if(x) %}y{% endif %}',
    '{% for(i) in l %}{{i}}{% endfor %}',
    "{% set ns=namespace(a=1) %}{% set ns.b = 2 %}{{ ns['b'] }}",
    '{{ ns }}',
    '{% set ns = namespace(a=1) %}{% if true %}{% set ns.a = 5 %}{% endif %}{{ ns.a }}',
    '{% for a in l %}{% for b in l if b != a %}{{a}}{{b}} {% endfor %}{% endfor %}',
    '{% for i in l %}{% for j in [] %}{% else %}{{ loop.index }}{% endfor %}{% endfor %}',
    '{% for i in l %}{{ loop.index }}{% else %}{% endfor %}{{ loop }}',
    '{% if x %}a{% endif x %}',
    '{% set %}{% endset %}',
    '{% endset %}',
    '{% macro %}{% endmacro %}',
    '{% for i in l %}{% endif %}',
    '{% if x %}{% endfor %}',
    '{% macro m() %}a{% endmacro m %}{{ m() }}',
    '{% call x() %}{% endcall %}',
    '{% call x %}{% endcall %}',
    '{% filter nope %}{% endfilter %}',
    '{{ x|default }}',
    '{{ x|join(1,2,3,4) }}',
    '{{ x|default(foo=1) }}',
    '{{ range() }}',
    '{{ namespace(1) }}',
    '{{ dict(1) }}',
    '{{ [*l] }}',
    '{{ dict(**d) }}',
    '{{ range(*[1,3])|list }}',
    '{{ x(*l, **d) }}',
]


def main():
    env = environment()
    cases = []
    templates = ["[{{ " + e + " }}]" for line in EXPRESSIONS.splitlines() for e in line.split(";")] + TEMPLATES
    for template in templates:
        try:
            cases.append([template, env.from_string(template).render(**VARIABLES)])
        except Exception:
            cases.append([template, None])
    out = "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]"
    sys.stdout.write('{"variables": ' + json.dumps(VARIABLES) + ',\n"cases": ' + out + "}\n")


if __name__ == "__main__":
    main()
