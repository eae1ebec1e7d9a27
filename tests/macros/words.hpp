// What headers that others include first define as macros. Each word stands for something that no declaration survives.
// Left out: min and max of Windows, which every C++ program turns off by NOMINMAX, and box, clear, erase, move and refresh
// of curses, which undefines them for C++.
#pragma once

// Qt, but for its `emit` these are in qobjectdefs.h.
#define slots
#define signals public
#define emit
#define foreach(variable, container) @
#define forever for (;;)

// X11: X.h, Xlib.h, Xutil.h.
#define None 0L
#define Bool int
#define Status int
#define Success 0
#define True 1
#define False 0
#define Always 2
#define Never 0
#define Above 0
#define Below 1
#define Complex 0
#define Convex 2
#define Nonconvex 1
#define Unsorted 0
#define YSorted 1
#define CurrentTime 0L
#define AnyKey 0L
#define KeyPress 2
#define KeyRelease 3
#define FocusIn 9
#define FocusOut 10
#define Expose 12
#define ControlMask 4
#define GrayScale 1
#define StaticColor 2
#define DirectColor 5
#define CursorShape 0
#define InputOutput 1
#define AllValues 0xF
#define XValue 1

// curses.
#define OK 0
#define ERR (-1)
#define TRUE 1
#define FALSE 0
#define stdscr @
#define timeout(delay) @
#define border(ls, rs, ts, bs, tl, tr, bl, br) @
#define addch(c) @
#define addstr(text) @
#define attron(attributes) @
#define attrset(attributes) @
#define bkgd(c) @
#define clrtoeol() @
#define delch() @
#define getch() @
#define getstr(text) @
#define getyx(window, y, x) @
#define hline(c, n) @
#define inch() @
#define insch(c) @
#define instr(text) @
#define scrl(n) @
#define scroll(window) @
#define standend() @
#define standout() @
#define vline(c, n) @

// Windows.
#define near
#define far
#define small char
#define interface struct
#define cdecl
#define pascal
#define CALLBACK
#define CONST const
#define VOID void
#define IN
#define OUT
#define OPTIONAL
#define ERROR 0
#define NO_ERROR 0L
#define DELETE 0x00010000L
#define IGNORE 0
#define INFINITE 0xFFFFFFFF
#define STRICT 1
#define ABSOLUTE 1
#define RELATIVE 2
#define OPAQUE 2
#define TRANSPARENT 1
#define DIFFERENCE 11
#define CreateFile CreateFileW
#define GetObject GetObjectW
#define LoadImage LoadImageW
